"""The agent beside nvitop-exporter on the same simulated driver, in turns: CPU and memory for 8 GPUs at 1 s and 10 s.

gpufleet's agent is measured with all it does: reading, spooling to disk and pushing to a real server (whose own cost is
not the agent's). nvitop-exporter is measured alone, and scraped once an interval: what is not scraped reaches nobody.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.bench.processes import Usage, cpu_seconds, pss_mb, rss_mb, running, tree
from tests.e2e.stack import free_port, server
from tests.nvml_sim.build import build
from tests.nvml_sim.scenario import Scenario, busy, h100_sxm

GPUS = 8
BIN = Path(sys.executable).parent
Step = Callable[[], None]


def measure(pid: int, window: float, interval: float, step: Step) -> Usage:
    """Watch a process tree for `window` seconds, calling `step` once an interval."""
    pids = tree(pid)
    begin, used = time.monotonic(), cpu_seconds(pids)
    while time.monotonic() < begin + window:
        time.sleep(interval)
        step()
    spent, elapsed = cpu_seconds(pids) - used, time.monotonic() - begin
    return Usage(1000 * spent / elapsed, pss_mb(pids), rss_mb(pids))


class Bench:
    """One run: a driver, a server to push to, and a folder for logs and state."""

    def __init__(self, folder: Path, window: float, warm_up: float) -> None:
        self.folder, self.window, self.warm_up = folder, window, warm_up
        scenario = folder / "scenario"
        Scenario(gpus=[busy(h100_sxm(index), index) for index in range(GPUS)]).write(scenario)
        self.env = os.environ | {"LD_LIBRARY_PATH": str(build()), "GPUFLEET_NVML_SIM": str(scenario)}

    def gpufleet(self, interval: float, url: str, token: str) -> Usage:
        """The agent, from the driver to committed rows."""
        command = [str(BIN / "gpufleet-agent"), "run", "--server", url, "--token", token]
        command += ["--interval", f"{interval:g}s", "--state-dir", str(self.folder / "agent")]
        return self._of(command, interval, lambda: None)

    def nvitop(self, interval: float, *, scraped: bool) -> Usage:
        """nvitop-exporter at the same interval."""
        port = free_port()
        command = [str(BIN / "nvitop-exporter"), "--interval", f"{interval:g}", "--port", str(port)]
        return self._of(command, interval, (lambda: scrape(port)) if scraped else (lambda: None))

    def _of(self, command: list[str], interval: float, step: Step) -> Usage:
        with running(command, self.env, self.folder / "log") as process:
            time.sleep(self.warm_up + interval)
            if process.poll() is not None:
                raise SystemExit(f"{command[0]} ended early:\n{(self.folder / 'log').read_text()[-2000:]}")
            return measure(process.pid, max(self.window, 2 * interval), interval, step)


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


def rounds(bench: Bench, count: int, interval: float, url: str, token: str) -> dict[str, dict[str, float]]:
    """Measure all in turns, `count` times."""
    runs: dict[str, Callable[[], Usage]] = {
        "gpufleet": lambda: bench.gpufleet(interval, url, token),
        "nvitop_exporter": lambda: bench.nvitop(interval, scraped=False),
        "nvitop_exporter_scraped": lambda: bench.nvitop(interval, scraped=True),
    }
    measured: dict[str, list[Usage]] = {name: [] for name in runs}
    for turn in range(count):
        for name, run in runs.items():
            measured[name].append(run())
            print(f"{interval:g} s, round {turn + 1}/{count}: {name} {measured[name][-1]}", file=sys.stderr)
    return {name: middle(usages) for name, usages in measured.items()}


def show(results: dict[float, dict[str, dict[str, float]]]) -> None:
    """The table for people."""
    table = Table(title=f"{GPUS} GPUs on the simulated driver, medians")
    for column in ("interval", "what", "CPU ms per s", "PSS MB", "RSS MB"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for interval, by_name in results.items():
        for name, usage in by_name.items():
            table.add_row(f"{interval:g} s", name, *(f"{figure:.2f}" for figure in usage.values()))
    Console().print(table)


@contextmanager
def bench_in(folder: Path, window: float, warm_up: float) -> Iterator[tuple[Bench, str, str]]:
    """A bench with a real server, its URL and a join token."""
    with ExitStack() as stack:
        running_server = stack.enter_context(server(folder))
        yield Bench(folder, window, warm_up), running_server.url, running_server.token("join")


def main() -> None:
    """Run, print the table, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="turns for each program and interval")
    parser.add_argument("--window", type=float, default=20, help="seconds measured in each turn")
    parser.add_argument("--warm-up", type=float, default=5, help="seconds left out after each start")
    args = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as folder,
        bench_in(Path(folder), args.window, args.warm_up) as (bench, url, token),
    ):
        results = {interval: rounds(bench, args.rounds, interval, url, token) for interval in (1.0, 10.0)}
    show(results)
    every_10_s = {f"{name}_10s": usage for name, usage in results[10.0].items()}
    print(json.dumps({"bench": "agent", "gpus": GPUS, "interval_s": 1} | results[1.0] | every_10_s))


if __name__ == "__main__":
    main()
