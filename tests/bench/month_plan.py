"""The plan of a simulated month: what happens where and when, drawn from the rates with a seed."""

import heapq
import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gpufleet_server.domain.clock import SECOND
from gpufleet_server.simulate.plan import SimNode, fleet

from tests.bench.month_faults import FAULTS
from tests.bench.month_harmless import (
    AGENTS_DAY,
    DRIVERS_DAY,
    DRIVERS_TAKE,
    HARMLESS,
    LEFT_BEHIND,
    in_office,
    upgraded_agent,
    upgraded_driver,
)
from tests.bench.month_story import HOUR, Kind, Turn

DAY_S = 86_400
# What happens is told in agents' reports; here a node's begin and end on these, s.
_GRAIN = 15
# For so long after a happening has ended nothing else happens to its nodes, s.
_REST = HOUR
_BATCH = 16
_AGENT = Kind(name="agent upgraded", a_month=0, source="once a month; our choice", story=upgraded_agent, of_gpu=False)
_DRIVER = Kind(name="driver upgraded in a window", a_month=0, source=_AGENT.source, story=upgraded_driver, of_gpu=False)


@dataclass(frozen=True, slots=True)
class Happening:
    """One happening of a kind, from `at` to `end` (µs): to nodes (places in the plan), and one GPU of the first."""

    kind: Kind
    at: int
    end: int
    nodes: tuple[int, ...]
    gpu: int
    turns: tuple[Turn, ...]


@dataclass(slots=True)
class Plan:
    """The nodes, and all that happens to them between `begin` and `end`, µs."""

    nodes: list[SimNode]
    begin: int
    end: int
    happenings: list[Happening] = field(default_factory=list)

    def turns(self) -> list[tuple[int, Happening, Turn]]:
        """All turns within the time, in their order."""
        found = [(_at(each, turn), each, turn) for each in self.happenings for turn in each.turns]
        return sorted((one for one in found if one[0] < self.end), key=lambda one: one[0])


def plan(
    seed: int, gpus: int, days: float, begin: int, *, least: int = 0, kinds: Iterable[Kind] = (*FAULTS, *HARMLESS)
) -> Plan:
    """A month's, or less, on a fleet of so many GPUs. Of each kind that has the time there are `least` at least."""
    nodes = [node for node in fleet(seed, gpus, begin, faults=False) if node.count == node.model.per_node]
    drawn = _Drawn(Plan(nodes, begin, begin + int(days * DAY_S) * SECOND), random.Random(seed))
    for kind in LEFT_BEHIND:
        drawn.some(kind, kind.a_month if gpus >= 2000 else min(1, kind.a_month), days)
    drawn.upgrades()
    for kind in kinds:
        drawn.some(kind, max(least, kind.a_month * gpus / 10_000 * days / 30), days)
    drawn.plan.happenings.sort(key=lambda each: each.at)
    return drawn.plan


class _Drawn:
    """Draws happenings so that those of one node do not meet."""

    def __init__(self, plan_: Plan, chance: random.Random) -> None:
        self.plan, self._chance = plan_, chance
        self._taken: dict[int, list[tuple[float, float]]] = defaultdict(list)
        self._behind: set[int] = set()
        self._offices = {number for number, node in enumerate(plan_.nodes) if in_office(node)}
        self._racks: dict[tuple[str, str], list[int]] = defaultdict(list)
        for number, node in enumerate(plan_.nodes):
            self._racks[node.site.name, node.rack].append(number)

    def some(self, kind: Kind, count: float, days: float) -> None:
        """About so many of a kind, at any time in which they can still be found."""
        first, last = kind.days
        last = max(first, min(last, days - (kind.within + HOUR) / DAY_S))
        if first + kind.within / DAY_S > days:
            return
        for _ in range(int(count) + (self._chance.random() < count % 1)):
            for _ in range(200):
                if self._one(kind, self._chance.uniform(first, last) * DAY_S):
                    break

    def upgrades(self) -> None:
        """All agents but a site's within hours; all drivers but those of some nodes within days, by batches."""
        whole = (self.plan.end - self.plan.begin) / SECOND / DAY_S
        nodes = range(len(self.plan.nodes))
        if whole > AGENTS_DAY + 1:
            self._batches(_AGENT, [each for each in nodes if each not in self._offices], AGENTS_DAY, 0.2)
        if whole > DRIVERS_DAY + DRIVERS_TAKE + 2:
            self._batches(_DRIVER, [each for each in nodes if each not in self._behind], DRIVERS_DAY, DRIVERS_TAKE)

    def _batches(self, kind: Kind, nodes: Sequence[int], day: float, take: float) -> None:
        batches = [nodes[begin : begin + _BATCH] for begin in range(0, len(nodes), _BATCH)]
        for number, batch in enumerate(batches):
            at = (day + take * number / len(batches)) * DAY_S
            self._add(kind, at, batch, 0, tuple(kind.story(self._chance)))

    def _one(self, kind: Kind, at: float) -> bool:
        number = self._chance.randrange(len(self.plan.nodes))
        if not kind.fits(self.plan.nodes[number]):
            return False
        nodes = self._struck(kind, number)
        turns = tuple(kind.story(self._chance))
        if kind.whole == "rack" and len(nodes) < 3:
            return False
        if kind.whole != "site" and any(self._meets(each, at, at + turns[-1].after) for each in nodes):
            return False
        self._add(kind, at, nodes, self._chance.randrange(self.plan.nodes[number].count), turns)
        return True

    def _struck(self, kind: Kind, number: int) -> list[int]:
        node = self.plan.nodes[number]
        if kind.whole == "rack":
            return self._racks[node.site.name, node.rack]
        if kind in LEFT_BEHIND and kind.whole is None:
            self._behind |= {number} if kind.finds == ("driver_drift",) else set()
        return [number]

    def _meets(self, number: int, begin: float, end: float) -> bool:
        return any(begin < until + _REST and since < end + _REST for since, until in self._taken[number])

    def _add(self, kind: Kind, at: float, nodes: Sequence[int], gpu: int, turns: tuple[Turn, ...]) -> None:
        at = at // _GRAIN * _GRAIN
        for number in nodes:
            self._taken[number].append((at, at + turns[-1].after))
        begin = self.plan.begin + int(at) * SECOND
        end = begin + int(turns[-1].after * SECOND)
        self.plan.happenings.append(Happening(kind, begin, end, tuple(nodes), gpu, turns))


def _at(happening: Happening, turn: Turn) -> int:
    # Within its first minute a fault goes on by the second; what follows hours later is on the grain.
    after = turn.after if turn.after < 60 else turn.after // _GRAIN * _GRAIN
    return happening.at + int(after * SECOND)


def merged(*series: Iterable[int]) -> list[int]:
    """Rising times, each once."""
    return list(dict.fromkeys(heapq.merge(*(sorted(each) for each in series))))
