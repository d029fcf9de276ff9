"""12,500 simulated agents, 100,000 GPUs, one server process and one PostgreSQL; then ever shorter intervals.

All agents report over real HTTP (`gpufleet simulate`). What is acknowledged is counted by them, and afterwards in the
store: the difference is lost. CPU is in cores: 1 is one core, all of the time. Hours end and are sealed meanwhile as
they are in real life. An interval holds if agents end it with no more reports waiting than are made in ten seconds.
"""

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from gpufleet_server.domain import planes
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tiers import SEALED
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, select, text

from tests.bench.processes import cpu_seconds_ever, pss_mb, tree
from tests.e2e.stack import BIN, Server
from tests.postgres import Postgres, postgres

SETTINGS = {
    "shared_buffers": "1GB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "10min",
    "wal_compression": "on",
}
_RECENT = "SELECT coalesce(sum(length(times) / 8 * length(slots) / 2), 0) FROM recent"


@dataclasses.dataclass(frozen=True, slots=True)
class Phase:
    """What one interval cost. Cores of each part, memory in MB at the end of its first and its last minute."""

    interval_s: float
    minutes: float
    reports_per_s: float
    values_per_s: float
    ack_p50_ms: float
    ack_p99_ms: float
    waiting: int
    unavailable: int
    server_cores: float
    postgres_cores: float
    simulator_cores: float
    early_rss_mb: float
    peak_rss_mb: float
    holds: bool


class Stack:
    """The server and its database."""

    def __init__(self, folder: Path, database: Postgres, server: Server) -> None:
        self.folder, self.database, self.server = folder, database, server

    def cpu(self) -> tuple[float, float]:
        """CPU seconds of server and PostgreSQL so far."""
        assert self.server.process is not None
        return cpu_seconds_ever(tree(self.server.process.pid)), self.database.cpu_seconds()

    def rss_mb(self) -> float:
        """Memory of both, MB."""
        assert self.server.process is not None
        return pss_mb(tree(self.server.process.pid)) + self.database.rss_mb()


@contextmanager
def stack(folder: Path) -> Iterator[Stack]:
    """A server on a PostgreSQL of its own that run while the block does."""
    with postgres(folder / "postgres", SETTINGS) as database:
        (folder / "server").mkdir()
        server = Server(folder / "server", postgresql=database.create_database("gpufleet"))
        server.start()
        try:
            yield Stack(folder, database, server)
        finally:
            server.kill()


def simulate(it: Stack, args: argparse.Namespace, agents: int, interval: float, credentials: str) -> list[str]:
    """The command that reports as agents do at an interval (s), whose credentials are kept in a file of that name."""
    return [
        str(BIN / "gpufleet"), "simulate", "--server", it.server.url, "--agents", str(agents),
        "--gpus-per-node", str(args.gpus_per_node), "--interval", f"{interval:g}s", "--json", "--report-every", "10s",
        "--connections", str(args.connections), "--credentials", str(it.folder / credentials),
    ]  # fmt: skip


def phase(
    it: Stack, args: argparse.Namespace, interval: float, minutes: float, ramp: float
) -> tuple[Phase, dict[str, Any]]:
    """Run the agents at an interval, the last begins `ramp` s after the first; what it cost, and their last line."""
    command = simulate(it, args, args.agents, interval, "credentials")
    command += ["--duration", f"{minutes * 60:g}s", "--grace", "120s", "--ramp", f"{ramp:g}s"]
    env = os.environ | {"GPUFLEET_AGENT_TOKEN": it.server.token("join")}
    before, began, memory = it.cpu(), time.monotonic(), []
    lines: list[dict[str, Any]] = []
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True) as simulator:
        assert simulator.stdout is not None
        for line in simulator.stdout:
            lines.append(json.loads(line))
            memory.append(it.rss_mb())
            _tell(lines[-1], memory[-1])
            if not lines[-1]["final"] and len(lines) == max(1, int(minutes * 6) - 1):
                spent, seconds = it.cpu(), time.monotonic() - began
    cores = [(after - earlier) / seconds for after, earlier in zip(spent, before, strict=True)]
    live, last = [each for each in lines if not each["final"]], lines[-1]
    return _phase(args, interval, minutes, live, cores, memory), last


def _phase(
    args: argparse.Namespace,
    interval: float,
    minutes: float,
    live: list[dict[str, Any]],
    cores: list[float],
    memory: list[float],
) -> Phase:
    # The first half is for enrolment, rosters and all the states that are told once.
    steady = live[len(live) // 2 :]
    end = live[-1]
    waiting = steady[-1]["waiting"]
    return Phase(
        interval_s=interval,
        minutes=minutes,
        reports_per_s=_mean(steady, "committed_per_s"),
        values_per_s=_mean(steady, "values_per_s"),
        ack_p50_ms=float(np.median([each["ack_ms"]["window"]["p50"] or 0 for each in steady])),
        ack_p99_ms=float(np.median([each["ack_ms"]["window"]["p99"] or 0 for each in steady])),
        waiting=waiting,
        unavailable=end["unavailable"],
        server_cores=round(cores[0], 3),
        postgres_cores=round(cores[1], 3),
        simulator_cores=_mean(steady, "cores"),
        early_rss_mb=round(memory[min(5, len(memory) - 1)], 1),
        peak_rss_mb=round(max(memory), 1),
        holds=waiting <= args.agents * 10 / max(interval, 10),
    )


def _mean(lines: list[dict[str, Any]], name: str) -> float:
    return round(float(np.mean([each[name] for each in lines])), 3)


def _tell(line: dict[str, Any], memory: float) -> None:
    window = line["ack_ms"]["window"]
    print(
        f"{line['elapsed_s']:7.0f} s  {line['committed_per_s']:8,.0f} reports/s {line['values_per_s']:12,.0f} values/s "
        f"ack p50 {window['p50']} p99 {window['p99']} ms  waiting {line['waiting']:,}  503s {line['unavailable']:,}  "
        f"simulator {line['cores']} cores  memory {memory:,.0f} MB",
        file=sys.stderr,
        flush=True,
    )


def held(database: str) -> int:
    """How many samples the store holds."""
    with closing(Store.open(database)) as store, store.reading() as connection:
        return int(connection.execute(text(_RECENT)).scalar_one()) + _sealed(connection)


def _sealed(connection: Connection) -> int:
    columns = SEALED.table.c
    rows = connection.execute(select(columns.points, columns.slots, columns.durations))
    return sum(
        int((planes.decode(durations, points, len(slots) // 2, wide=False) > 0).sum())
        for points, slots, durations in rows
    )


def show(phases: list[Phase], args: argparse.Namespace) -> None:
    """The table for people."""
    table = Table(
        "", *(f"{each.interval_s:g} s" for each in phases), title=f"{args.agents * args.gpus_per_node:,} GPUs"
    )
    for field in dataclasses.fields(Phase):
        table.add_row(field.name.replace("_", " "), *(f"{getattr(each, field.name):,}" for each in phases))
    Console().print(table)


def main() -> None:
    """Run, print the table, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agents", type=int, default=12_500)
    parser.add_argument("--gpus-per-node", type=int, default=8)
    parser.add_argument("--minutes", type=float, default=11.0, help="at the first interval")
    parser.add_argument("--interval", type=float, default=10.0)
    parser.add_argument("--ramp", type=float, default=120.0, help="seconds in which the agents come, at first")
    parser.add_argument("--then", type=float, nargs="*", default=[5.0, 2.0, 1.0], help="intervals to try afterwards")
    parser.add_argument("--then-minutes", type=float, default=3.0)
    parser.add_argument(
        "--connections", type=int, default=1000, help="that agents share: how many reports are on their way"
    )
    parser.add_argument("--folder", type=Path, help="on which disk the data lie while it runs")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-", dir=args.folder) as folder:
        Path(folder).chmod(0o755)
        with stack(Path(folder)) as it:
            print(f"{it.database.version()}; {SETTINGS}", file=sys.stderr)
            phases, acknowledged = [], 0
            then = [(interval, args.then_minutes, max(interval, 10.0)) for interval in args.then]
            for interval, minutes, ramp in ((args.interval, args.minutes, args.ramp), *then):
                result, last = phase(it, args, interval, minutes, ramp)
                phases.append(result)
                acknowledged += last["samples"]
                if last["waiting"] or not result.holds:
                    break
            lost = acknowledged - held(it.server.database)
    show(phases, args)
    first, holding = phases[0], [each for each in phases if each.holds]
    print(
        json.dumps(
            {
                "bench": "scale",
                "gpus": args.agents * args.gpus_per_node,
                "interval_s": first.interval_s,
                "minutes": first.minutes,
                "server_cores": first.server_cores,
                "postgres_cores": first.postgres_cores,
                "ack_p99_ms": first.ack_p99_ms,
                "peak_rss_mb": first.peak_rss_mb,
                "lost": lost,
                "max_values_per_s": max((each.values_per_s for each in holding), default=0),
                "phases": [dataclasses.asdict(each) for each in phases],
            }
        )
    )


if __name__ == "__main__":
    main()
