"""A fleet of which a share was offline for a day and comes back at once: what the others notice, and what it takes.

Two `gpufleet simulate` report to one server with one PostgreSQL: agents that report live all the while, and, after some
minutes, those that come back, each with a day of samples. By default their day comes in reports of a minute; with
`--every 10` in reports of ten seconds, as real agents keep them, which takes six times as long: an agent sends one
report after the other, and while many come, commits are 0.2 s apart.

What is acknowledged is counted by the agents and looked for in the store. At the end every hour and day is rolled up:
GPU-ms that all tiers hold must be those of the samples.
"""

import argparse
import dataclasses
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from gpufleet_server.domain import clock, planes
from gpufleet_server.store.engine import Store
from gpufleet_server.store.seal import horizon, pending
from gpufleet_server.store.tiers import DAILY, DAY, HOUR, HOURLY, SEALED, Tier, fleet_hours, fleet_minutes
from gpufleet_server.store.upkeep import run_once
from rich.console import Console
from rich.table import Table
from sqlalchemy import func, select

from tests.bench.scale import SETTINGS, Stack, held, simulate, stack

_LOOK_S = 5.0
# No simulation is that long: it is told when to end.
_FOR_EVER = "30d"


@dataclasses.dataclass(frozen=True, slots=True)
class Phase:
    """What a time was like for the agents that report live, and what it cost.

    Acknowledgements: medians over 10 s each, and the p99 of the worst of them. `waiting`: reports of live agents, most
    at a time; `drained_values_per_s`: of the agents that come back. Cores are means; memory of server and PostgreSQL.
    """

    minutes: float
    reports_per_s: float
    ack_p50_ms: float
    ack_p99_ms: float
    ack_worst_p99_ms: float
    waiting: int
    unavailable: int
    drained_values_per_s: float
    server_cores: float
    postgres_cores: float
    simulators_cores: float
    peak_rss_mb: float


class Simulation:
    """A `gpufleet simulate` that goes on until it is ended; what it tells, by when it did (monotonic, s)."""

    def __init__(self, command: list[str], token: str) -> None:
        env = os.environ | {"GPUFLEET_AGENT_TOKEN": token}
        self._process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True)
        self.lines: list[tuple[float, dict[str, Any]]] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def waiting(self) -> int | None:
        """How many reports wait, as it told last; None before it did. RuntimeError where it has ended."""
        if self._process.poll() is not None:
            raise RuntimeError(f"a simulation ended with {self._process.returncode}")
        return self.lines[-1][1]["waiting"] if self.lines else None

    def between(self, begin: float, end: float) -> list[dict[str, Any]]:
        """What it told in that time, or last before its end."""
        told = [(at, line) for at, line in self.lines if at <= end]
        return [line for at, line in told if at > begin] or [line for _, line in told[-1:]]

    def end(self) -> dict[str, Any]:
        """Have it send what waits, and end; its last line."""
        self._process.send_signal(signal.SIGINT)
        self._process.wait(300)
        self._reader.join()
        return self.lines[-1][1]

    def kill(self) -> None:
        """End it, whatever it is at."""
        self._process.kill()
        self._process.wait()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append((time.monotonic(), json.loads(line)))


class Watch:
    """Looks at server and database all the while."""

    def __init__(self, it: Stack) -> None:
        self._it = it
        self.marks: list[tuple[float, tuple[float, float]]] = []
        self._memory: list[tuple[float, float]] = []

    def mark(self) -> None:
        """A phase ends, and the next one begins."""
        self.marks.append((time.monotonic(), self._it.cpu()))

    def until(self, over: Callable[[], bool]) -> None:
        """Look until it is over."""
        while not over():
            time.sleep(_LOOK_S)
            self._memory.append((time.monotonic(), self._it.rss_mb()))

    def lasting(self, minutes: float) -> None:
        """Look for so long."""
        end = time.monotonic() + minutes * 60
        self.until(lambda: time.monotonic() >= end)

    def phase(self, number: int, live: Simulation, returning: Simulation) -> Phase:
        """What it was like from a mark to the next."""
        (begin, spent_before), (end, spent) = self.marks[number : number + 2]
        lines, others = live.between(begin, end), returning.between(begin, end)
        server, database = ((after - before) / (end - begin) for after, before in zip(spent, spent_before, strict=True))
        p50s, p99s = ([line["ack_ms"]["window"][name] or 0 for line in lines] for name in ("p50", "p99"))
        return Phase(
            minutes=round((end - begin) / 60, 2),
            reports_per_s=_mean(lines, "committed_per_s"),
            ack_p50_ms=round(float(np.median(p50s)), 1),
            ack_p99_ms=round(float(np.median(p99s)), 1),
            ack_worst_p99_ms=max(p99s),
            waiting=max(line["waiting"] for line in lines),
            unavailable=lines[-1]["unavailable"] - lines[0]["unavailable"],
            drained_values_per_s=_mean(others, "values_per_s"),
            server_cores=round(server, 3),
            postgres_cores=round(database, 3),
            simulators_cores=round(_mean(lines, "cores") + _mean(others, "cores"), 3),
            peak_rss_mb=round(max(mb for at, mb in self._memory if begin < at <= end), 1),
        )


def _mean(lines: list[dict[str, Any]], name: str) -> float:
    return round(float(np.mean([each[name] for each in lines])), 3) if lines else 0.0


def gpu_ms(store: Store) -> dict[str, int]:
    """Tier → ms of all GPUs that it holds."""
    found = {tier.name: _observed(store, tier) for tier in (SEALED, HOURLY, DAILY)}
    with store.reading() as connection:
        for table in (fleet_minutes, fleet_hours):
            found[table.name] = int(connection.execute(select(func.sum(table.c.observed))).scalar_one() or 0)
    return found


def _observed(store: Store, tier: Tier) -> int:
    columns = tier.table.c
    with store.reading() as connection:
        rows = connection.execute(select(columns.points, columns.slots, columns.durations))
        return sum(int(planes.decode(ms, points, len(slots) // 2, wide=False).sum()) for points, slots, ms in rows)


def run(it: Stack, args: argparse.Namespace) -> tuple[list[Phase], dict[str, Any]]:
    """Before, during and after; and what is found in the end."""
    returning_agents = round(args.agents * args.share)
    live_command = simulate(it, args, args.agents - returning_agents, args.interval, "live")
    command = simulate(it, args, returning_agents, args.interval, "returning")
    command += ["--seed", "2", "--offline", "1", "--backlog", f"{args.hours:g}h", "--every", f"{args.every:g}s"]
    for each in (live_command, command):
        each += ["--no-faults", "--duration", _FOR_EVER, "--grace", "120s", "--ramp", f"{args.ramp:g}s"]
    token, watch = it.server.token("join"), Watch(it)
    simulations = [Simulation(live_command, token)]
    try:
        # Enrolment, rosters and all the states that are told once.
        watch.lasting((args.ramp + 30) / 60)
        watch.mark()
        watch.lasting(args.before)
        watch.mark()
        simulations.append(Simulation(command, token))
        live, returning = simulations
        watch.until(lambda: _drained(live, returning, returning_agents))
        watch.mark()
        settled = _settled(it, watch, args.after)
        watch.mark()
        phases = [watch.phase(number, live, returning) for number in range(3)]
        acknowledged = sum(each.end()["samples"] for each in simulations)
    finally:
        for simulation in simulations:
            simulation.kill()
    it.server.kill(signal.SIGTERM)
    return phases, {"sealed_after_minutes": settled} | found(it, acknowledged, args.interval)


def _drained(live: Simulation, returning: Simulation, agents: int) -> bool:
    left = returning.waiting
    if left is not None:
        print(f"{left:,} reports are to be drained, {live.waiting} live ones wait", file=sys.stderr, flush=True)
    # Each agent may have its newest report on its way.
    return left is not None and left <= agents


def _settled(it: Stack, watch: Watch, minutes: float) -> float | None:
    """Let some minutes go by. After how many of them the server had sealed, and rolled up, all hours that are over."""
    begin, settled = time.monotonic(), list[float]()
    with closing(Store.open(it.server.database)) as store:

        def over() -> bool:
            since = (time.monotonic() - begin) / 60
            if not settled and not pending(store, horizon(clock.now())):
                settled.append(round(since, 2))
            return since >= minutes

        watch.until(over)
    return settled[0] if settled else None


def found(it: Stack, acknowledged: int, interval: float) -> dict[str, Any]:
    """What is lost of so many samples, each of an interval (s), and whether all tiers hold the same GPU-ms."""
    lost = acknowledged - held(it.server.database)
    with closing(Store.open(it.server.database)) as store:
        # By then every hour and day is over.
        run_once(store, clock.now() + DAY + HOUR)
        by_tier = gpu_ms(store)
    wanted = round(acknowledged * interval * 1000)
    right = all(ms == wanted for ms in by_tier.values())
    return {"samples": acknowledged, "lost": lost, "rollups_right": right, "gpu_ms": {"acknowledged": wanted} | by_tier}


def show(phases: list[Phase], title: str) -> None:
    """The table for people."""
    table = Table("live agents and costs", "before", "during", "after", title=title)
    for field in dataclasses.fields(Phase):
        table.add_row(field.name.replace("_", " "), *(f"{getattr(each, field.name):,}" for each in phases))
    Console().print(table)


def parsed() -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=1250, help="altogether")
    parser.add_argument("--gpus-per-node", type=int, default=8)
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between samples")
    parser.add_argument("--share", type=float, default=0.2, help="of the agents that come back")
    parser.add_argument("--hours", type=float, default=24.0, help="that those were offline")
    parser.add_argument("--every", type=float, default=60.0, help="seconds between the reports of those")
    parser.add_argument("--before", type=float, default=2.0, help="minutes")
    parser.add_argument("--after", type=float, default=2.0, help="minutes")
    parser.add_argument("--ramp", type=float, default=10.0, help="seconds in which all of a kind come")
    parser.add_argument("--connections", type=int, default=1000, help="that agents of a kind share")
    parser.add_argument("--folder", type=Path, help="on which disk the data lie while it runs")
    return parser.parse_args()


def main() -> None:
    """Run, print the table, and one JSON object as the last line."""
    args = parsed()
    gpus, share = args.agents * args.gpus_per_node, round(args.agents * args.share) * args.gpus_per_node
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-", dir=args.folder) as folder:
        Path(folder).chmod(0o755)
        with stack(Path(folder)) as it:
            print(f"{it.database.version()}; {SETTINGS}", file=sys.stderr)
            phases, end = run(it, args)
    before, during, after = phases
    show(phases, f"{gpus:,} GPUs, {share:,} of which were offline for {args.hours:g} h")
    print(
        json.dumps(
            {
                "bench": "backlog",
                "gpus": gpus,
                "returning_gpus": share,
                "interval_s": args.interval,
                "backlog_hours": args.hours,
                "report_every_s": args.every,
                "minutes_until_empty": during.minutes,
                "drained_values_per_s": during.drained_values_per_s,
                "ack_p99_ms": {"before": before.ack_p99_ms, "during": during.ack_p99_ms, "after": after.ack_p99_ms},
                "live_waiting": {"before": before.waiting, "during": during.waiting, "after": after.waiting},
                "server_cores": during.server_cores,
                "postgres_cores": during.postgres_cores,
                "peak_rss_mb": max(each.peak_rss_mb for each in phases),
                **end,
                "phases": [dataclasses.asdict(each) for each in phases],
            }
        )
    )


if __name__ == "__main__":
    main()
