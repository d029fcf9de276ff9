"""A month of a fleet in which things go wrong as often as published studies tell: what was found, and what was false.

Physics, reports, ingest, store, rules and the engine's rounds are the real ones; only time is squeezed. A node tells of
itself whenever something happens to it, and for as long afterwards as rules wait; the samples of all others are written
every hour, and rules are evaluated then, at the times at which something is to be seen, and at once for events. What
happens is drawn from rates with a seed: faults as the published studies count them, where they do, and
what is no fault (programs' XIDs, reboots in windows, upgrades, short cuts of the network), of which nobody should be
told as of a fault.

An injected fault is found when an alert of the rule that is for it fired in time on its GPU, node or rack. A false
alarm is an alert that somebody was told of and that belongs to no fault.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from gpufleet_server.alerts import silences
from gpufleet_server.alerts.discovery import every_rule
from gpufleet_server.alerts.engine import Engine
from gpufleet_server.alerts.overrides import usual
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.ingest.writer import Writer
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate
from rich.console import Console
from rich.table import Table

from tests.bench.month_fleet import MonthFleet
from tests.bench.month_judge import Verdict, judge
from tests.bench.month_nodes import MonthNode
from tests.bench.month_plan import DAY_S, Happening, Plan, merged, plan
from tests.bench.month_story import Turn
from tests.postgres import DISPOSABLE, postgres

# Monday, 2026-06-01, 00:00 UTC.
BEGAN = 1_780_272_000 * SECOND
STRIDE_S = 3600
_ROUND = 15 * SECOND


@dataclass(slots=True)
class Counts:
    """What the month took: rounds over the fleet, evaluations of events, reports; s on this machine."""

    rounds: int = 0
    events: int = 0
    reports: int = 0
    wall: float = 0.0
    round_s: float = 0.0


class Month:
    """Plays a plan on a store."""

    def __init__(self, store: Store, it: Plan) -> None:
        self.plan, self.fleet = it, MonthFleet(store, [MonthNode(node, it.begin) for node in it.nodes], it.begin)
        self.counts = Counts()
        self._store, self._engine = store, Engine(store, usual(every_rule()), lambda: self.fleet.at)
        self._turns: dict[int, list[tuple[Happening, Turn]]] = defaultdict(list)
        self._tells: dict[int, set[int]] = defaultdict(set)
        self._rounds: set[int] = set()
        self._told: set[str] = set()
        for at, happening, turn in it.turns():
            self._turns[at].append((happening, turn))
            for look in turn.looks:
                self._tells[at + int(look * SECOND)].update(happening.nodes)
                self._rounds |= {_next_round(at + int(look * SECOND))} if look else set()

    def play(self) -> None:
        """All of it, in as little time as it takes."""
        began = time.monotonic()
        strides = range(self.plan.begin + STRIDE_S * SECOND, self.plan.end, STRIDE_S * SECOND)
        steps = merged(self._turns, self._tells, self._rounds, strides)
        with self.fleet.ingest(self._engine.happened) as writer:
            self.fleet.begin(writer)
            self.fleet.quiet(strides[0])
            for at in steps:
                if at >= self.plan.end:
                    break
                self._step(writer, at, stride=(at - self.plan.begin) % (STRIDE_S * SECOND) == 0)
                if at % (DAY_S * SECOND) == 0:
                    self.fleet.forget()
                    self._tell_how_it_goes(at, time.monotonic() - began)
        self.counts.wall, self.counts.reports = time.monotonic() - began, self.fleet.reports

    def _tell_how_it_goes(self, at: int, spent: float) -> None:
        over = [each for each in self.plan.happenings if each.at + each.kind.within * SECOND < at]
        so_far = judge(self._store, replace(self.plan, happenings=over))
        young = replace(self.plan, happenings=[each for each in self.plan.happenings if each.at < at])
        false = judge(self._store, young).false
        day, found, all_ = (at - self.plan.begin) // SECOND // DAY_S, so_far.found.total(), so_far.injected.total()
        _tell(f"day {day}: {spent:.0f} s; {found} of {all_} found, {len(false)} false; {self.counts.rounds} rounds")
        for line in (*so_far.missed, *false):
            if line not in self._told:
                self._told.add(line)
                _tell(f"  {'missed' if line in so_far.missed else 'false'}: {line}")

    def _step(self, writer: Writer, at: int, *, stride: bool) -> None:
        self.fleet.at = at
        due = self._tells.get(at, set()) | {number for each, _ in self._turns.get(at, ()) for number in each.nodes}
        last = {number for each, turn in self._turns.get(at, ()) if turn.sends is False for number in each.nodes}
        # Whoever falls silent now has reported a moment ago.
        self.fleet.tell(writer, {number for number in last if self.fleet.nodes[number].sends})
        for happening, turn in self._turns.get(at, ()):
            self._take(happening, turn)
        if stride:
            due |= self.fleet.odd | self.fleet.changed()
        if stride or at in self._rounds:
            due |= self.fleet.holding
        self.fleet.tell(writer, {number for number in due if self.fleet.nodes[number].sends})
        self.counts.events += self._engine.take_events(at) > 0
        if stride or at in self._rounds:
            self._look(at, stride=stride)

    def _take(self, happening: Happening, turn: Turn) -> None:
        at = self.fleet.at
        for number in happening.nodes:
            self.fleet.take(number, turn, happening.gpu)
            if turn.window is not None:
                name = {"hostname": self.plan.nodes[number].hostname}
                with self._store.writing() as connection:
                    until = at + int(turn.window * SECOND)
                    silences.create(connection, "maintenance", name, at, until, by="bench", why="planned", now=at)

    def _look(self, at: int, *, stride: bool) -> None:
        if stride:
            self.fleet.quiet(at + STRIDE_S * SECOND)
        self.fleet.freshen()
        if self.fleet.holding:
            self.fleet.fold()
        # A server would have looked every 15 s meanwhile, and has listened all the time.
        self._engine.statistics.last = at - _ROUND
        began = time.monotonic()
        self._engine.round(at)
        self.counts.round_s += time.monotonic() - began
        self.counts.rounds += 1


def _next_round(at: int) -> int:
    return -(-at // _ROUND) * _ROUND


@contextmanager
def disposable_store(folder: Path) -> Iterator[Store]:
    """A migrated store on a PostgreSQL of its own."""
    settings = DISPOSABLE | {"shared_buffers": "512MB", "max_wal_size": "4GB", "jit": "off"}
    with postgres(folder / "postgres", settings) as database:
        url = database.create_database("month")
        with closing(Store.open(url)) as store:
            migrate(store)
            yield store


def show(verdict: Verdict, counts: Counts, days: float) -> None:
    """The tables for people."""
    table = Table("fault", "injected", "found", "p50, s", "slowest, s", title="injected faults")
    for name, count in verdict.injected.most_common():
        delays = verdict.delays.get(name, [np.nan])
        table.add_row(name, str(count), str(verdict.found[name]), f"{np.median(delays):.0f}", f"{max(delays):.0f}")
    Console(width=110).print(table)
    table = Table("harmless", "so many", title="what nobody is to be told of as of a fault")
    for name, count in verdict.harmless.most_common():
        table.add_row(name, str(count))
    Console(width=110).print(table)
    table = Table("rule", "severity", "told", "held back", "told a day", title="alerts")
    for rule, severity in sorted({(rule, severity) for rule, severity, _ in verdict.fired}):
        told, held = verdict.fired[rule, severity, True], verdict.fired[rule, severity, False]
        table.add_row(rule, severity, str(told), str(held), f"{told / days:.2f}")
    Console(width=110).print(table)
    for title, lines in (("missed", verdict.missed), ("false", verdict.false)):
        for line in lines:
            _tell(f"{title}: {line}")
    _tell(str(counts))


def summary(verdict: Verdict, counts: Counts, gpus: int, days: float, nodes: int) -> dict[str, object]:
    """What is told on the last line."""
    return {
        "bench": "month",
        "gpus": gpus,
        "nodes": nodes,
        "days": days,
        "alerts_per_day": {name: round(verdict.told(name) / days, 2) for name in ("critical", "warning", "info")},
        "held_back_per_day": round(sum(n for (_, _, told), n in verdict.fired.items() if not told) / days, 2),
        "injected": verdict.injected.total(),
        "found": verdict.found.total(),
        "harmless": verdict.harmless.total(),
        "false": len(verdict.false),
        "false_per_day": round(len(verdict.false) / days, 3),
        "rounds": counts.rounds,
        "reports": counts.reports,
        "wall_s": round(counts.wall),
    }


def _tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def main() -> None:
    """Run, print the tables, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=10_000)
    parser.add_argument("--days", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--least", type=int, default=1, help="of each kind of happening there are so many at least")
    parser.add_argument("--folder", type=Path, help="on which disk the data lie while it runs")
    args = parser.parse_args()
    it = plan(args.seed, args.gpus, args.days, BEGAN, least=args.least)
    _tell(f"{len(it.nodes):,} nodes, {len(it.happenings):,} happenings")
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-", dir=args.folder) as folder:
        Path(folder).chmod(0o755)
        with disposable_store(Path(folder)) as store:
            month = Month(store, it)
            month.play()
            verdict = judge(store, it)
    show(verdict, month.counts, args.days)
    print(json.dumps(summary(verdict, month.counts, args.gpus, args.days, len(it.nodes))))


if __name__ == "__main__":
    main()
