"""The agent beside nvitop-exporter on the same simulated driver, in turns: CPU and memory for 8 GPUs at 1 s and 10 s.

gpufleet's agent is measured with all it does: reading, telling who uses the GPUs (two real processes on each), spooling
to disk and pushing to a real server (whose own cost is not the agent's); also without telling who, and with each GPU in
seven partitions that have a process each. nvitop-exporter is measured alone, and scraped once an interval: what is not
scraped reaches nobody. At last the agent takes an hour's samples in minutes, and its memory is watched all along.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from tests.bench.processes import Usage, cpu_seconds, pss_mb, rss_mb, running, tree
from tests.e2e.stack import Server, opened, server
from tests.nvml_sim.build import build
from tests.nvml_sim.device import Device
from tests.nvml_sim.scenario import Scenario, busy, h100_mig, h100_sxm
from tests.ports import free_port
from tests.server import stored

GPUS, PARTITIONS, PROCESSES = 8, 7, 2
# Seven of the smallest: GPU instance, compute instance, profile, name, slices, parts of it, MiB, place.
_SEVENTHS = tuple((7 + k, 0, 19, "1g.10gb", 1, 1, 9_728 + k, k) for k in range(PARTITIONS))
_HOUR = 3600
BIN = Path(sys.executable).parent
Step = Callable[[], None]


@dataclass(frozen=True)
class Growth:
    """Memory of all processes, MB, while so many samples were taken; `mb_per_hour` is its slope per 3,600 samples."""

    samples: int
    seconds: float
    first_mb: float
    most_mb: float
    last_mb: float
    mb_per_hour: float


def measure(pid: int, window: float, interval: float, step: Step) -> Usage:
    """Watch a process tree for `window` seconds, calling `step` once an interval."""
    pids = tree(pid)
    begin, used = time.monotonic(), cpu_seconds(pids)
    while time.monotonic() < begin + window:
        time.sleep(interval)
        step()
    spent, elapsed = cpu_seconds(pids) - used, time.monotonic() - begin
    return Usage(1000 * spent / elapsed, pss_mb(pids), rss_mb(pids))


def whole(index: int, pids: list[int]) -> Device:
    """A busy H100 with these processes on it."""
    gpu = busy(h100_sxm(index), index)
    for pid in pids:
        gpu.process(pid, "python", used=20e9, sm=40)
    return gpu


def cut(index: int, pids: list[int]) -> Device:
    """An H100 in seven partitions; each has a process, in turns one of these."""
    gpu = h100_mig(index, layout=_SEVENTHS)
    for place, (instance, compute, *_) in enumerate(_SEVENTHS):
        gpu.process(pids[place % len(pids)], "python", used=4e9, gi=instance, ci=compute)
    return gpu


class Bench:
    """One run: a driver, a server to push to, and a folder for logs and state."""

    def __init__(self, folder: Path, it: Server, pids: list[int], window: float, warm_up: float) -> None:
        self.folder, self.it, self.window, self.warm_up = folder, it, window, warm_up
        self._token = it.token("join")
        self._driver = folder / "scenario"
        self._pids = [pids[PROCESSES * n :][:PROCESSES] for n in range(GPUS)]
        self.env = os.environ | {"LD_LIBRARY_PATH": str(build()), "GPUFLEET_NVML_SIM": str(self._driver)}

    def has(self, make: Callable[[int, list[int]], Device]) -> None:
        """From now on the driver has these GPUs."""
        Scenario([make(index, self._pids[index]) for index in range(GPUS)]).write(self._driver)

    def gpufleet(self, interval: float, *options: str) -> Usage:
        """The agent, from the driver to committed rows."""
        command = [str(BIN / "gpufleet-agent"), "run", "--server", self.it.url, "--token", self._token]
        command += ["--interval", f"{interval:g}s", "--state-dir", str(self.folder / "agent"), *options]
        return self._of(command, interval, lambda: None)

    def partitioned(self, interval: float) -> Usage:
        """The agent with each GPU in partitions."""
        self.has(cut)
        try:
            return self.gpufleet(interval)
        finally:
            self.has(whole)

    def nvitop(self, interval: float, *, scraped: bool) -> Usage:
        """nvitop-exporter at the same interval."""
        port = free_port()
        command = [str(BIN / "nvitop-exporter"), "--interval", f"{interval:g}", "--port", str(port)]
        return self._of(command, interval, (lambda: scrape(port)) if scraped else (lambda: None))

    def growth(self, seconds: float) -> Growth:
        """The agent takes an hour's samples, one a second, in so many seconds."""
        command = [sys.executable, "-m", "tests.bench.fast_agent", str(seconds / _HOUR), f"server={self.it.url}"]
        command += [f"token={self._token}", f"state_dir={self.folder / 'agent'}"]
        before, seen = self._samples(), []
        with running(command, self.env, self.folder / "log") as process:
            time.sleep(self.warm_up)
            pids, begin = tree(process.pid), time.monotonic()
            while (since := time.monotonic() - begin) < seconds:
                self._check(process, command)
                seen.append((since, pss_mb(pids)))
                time.sleep(seconds / 100)
        taken = self._samples() - before
        if not taken:
            raise SystemExit(f"nothing was reported:\n{(self.folder / 'log').read_text()[-2000:]}")
        times, mb = np.array(seen).T
        slope = float(np.polyfit(times * taken / seconds, mb, 1)[0]) * _HOUR
        edges = [round(float(np.median(part)), 2) for part in (mb[:5], mb[-5:])]
        return Growth(taken, round(seconds, 1), edges[0], round(float(mb.max()), 2), edges[1], round(slope, 3))

    def _samples(self) -> int:
        with opened(self.it.database) as store:
            return stored.count(store) // GPUS

    def _of(self, command: list[str], interval: float, step: Step) -> Usage:
        with running(command, self.env, self.folder / "log") as process:
            time.sleep(self.warm_up + interval)
            self._check(process, command)
            return measure(process.pid, max(self.window, 2 * interval), interval, step)

    def _check(self, process: subprocess.Popen[bytes], command: list[str]) -> None:
        if process.poll() is not None:
            raise SystemExit(f"{command[0]} ended early:\n{(self.folder / 'log').read_text()[-2000:]}")


def scrape(port: int) -> None:
    """Fetch an exporter's whole page once."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
        answer.read()


def middle(usages: list[Usage]) -> dict[str, float]:
    """The median of each figure over the rounds."""
    return {
        field: round(statistics.median(getattr(usage, field) for usage in usages), 2)
        for field in ("cpu_ms_per_s", "pss_mb", "rss_mb")
    }


def rounds(bench: Bench, count: int, interval: float) -> dict[str, dict[str, float]]:
    """Measure all in turns, `count` times."""
    runs: dict[str, Callable[[], Usage]] = {
        "gpufleet": lambda: bench.gpufleet(interval),
        "nvitop_exporter": lambda: bench.nvitop(interval, scraped=False),
        "nvitop_exporter_scraped": lambda: bench.nvitop(interval, scraped=True),
    }
    if interval == 1:
        runs |= {
            "gpufleet_without_usage": lambda: bench.gpufleet(interval, "--usage", "off"),
            "gpufleet_56_partitions": lambda: bench.partitioned(interval),
        }
    measured: dict[str, list[Usage]] = {name: [] for name in runs}
    for turn in range(count):
        for name, run in runs.items():
            measured[name].append(run())
            print(f"{interval:g} s, round {turn + 1}/{count}: {name} {measured[name][-1]}", file=sys.stderr, flush=True)
    return {name: middle(usages) for name, usages in measured.items()}


def show(results: dict[float, dict[str, dict[str, float]]], growth: Growth | None) -> None:
    """The table for people."""
    title = f"{GPUS} GPUs on the simulated driver, {GPUS * PROCESSES} processes on them, medians"
    table = Table(title=title)
    for column in ("interval", "what", "CPU ms per s", "PSS MB", "RSS MB"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for interval, by_name in results.items():
        for name, usage in by_name.items():
            table.add_row(f"{interval:g} s", name, *(f"{figure:.2f}" for figure in usage.values()))
    Console().print(table)
    if growth is not None:
        Console().print(growth)


@contextmanager
def sleepers(count: int) -> Iterator[list[int]]:
    """Processes that do nothing, to be on the GPUs."""
    with ExitStack() as stack:
        started = [stack.enter_context(subprocess.Popen(["sleep", "infinity"])) for _ in range(count)]
        try:
            yield [each.pid for each in started]
        finally:
            for each in started:
                each.kill()


@contextmanager
def bench_in(folder: Path, window: float, warm_up: float) -> Iterator[Bench]:
    """A bench with a real server."""
    with server(folder) as it, sleepers(GPUS * PROCESSES) as pids:
        bench = Bench(folder, it, pids, window, warm_up)
        bench.has(whole)
        yield bench


def main() -> None:
    """Run, print the table, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="turns for each program at 1 s")
    parser.add_argument("--rounds-10s", type=int, default=1, help="turns for each program at 10 s")
    parser.add_argument("--window", type=float, default=20, help="seconds measured in each turn")
    parser.add_argument("--warm-up", type=float, default=5, help="seconds left out after each start")
    parser.add_argument("--hour-in", type=float, default=120, help="seconds for an hour's samples; 0 leaves them out")
    args = parser.parse_args()
    counts = {1.0: args.rounds, 10.0: args.rounds_10s}
    with tempfile.TemporaryDirectory() as folder, bench_in(Path(folder), args.window, args.warm_up) as bench:
        results = {interval: rounds(bench, count, interval) for interval, count in counts.items() if count}
        growth = bench.growth(args.hour_in) if args.hour_in else None
    show(results, growth)
    every_10_s = {f"{name}_10s": usage for name, usage in results.get(10.0, {}).items()}
    figures = {"bench": "agent", "gpus": GPUS, "interval_s": 1} | results.get(1.0, {}) | every_10_s
    print(json.dumps(figures | ({"growth": asdict(growth)} if growth is not None else {})))


if __name__ == "__main__":
    main()
