"""Single GPUs over time: of their samples while an interval is short, else of whole hours that are over."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, Rollup, Use

from tests.dashboards.fleet.rows import Rows
from tests.dashboards.fleet.sent import Floats, Integers, SentNode
from tests.dashboards.truth.seen import Seen, Series, plain

_MINUTE, _HOUR = 60_000_000, 3_600_000_000
# An hour is put together so long after its end.
_AFTER = 5 * _MINUTE


@dataclass(frozen=True)
class Part:
    """Samples of one GPU, or what hours make of them: how long each is observed (s), values by metric, s by use."""

    seconds: Floats
    values: Callable[[str], Floats]
    uses: Callable[[], Mapping[Use, Floats]]


@dataclass(frozen=True)
class Gpu:
    """The samples of one GPU that a panel takes into account."""

    rows: Rows
    node: SentNode
    place: int
    begin: int
    end: int
    interval: int

    @property
    def of_hours(self) -> bool:
        """Whether hours are read."""
        return self.interval >= 2 * _MINUTE

    @property
    def width(self) -> int:
        """How long an interval is, µs."""
        return -(-self.interval // _HOUR) * _HOUR if self.of_hours else self.interval

    @cached_property
    def _kept(self) -> Rows:
        rows = self.rows
        if not self.of_hours:
            return rows[(rows.at >= self.begin) & (rows.at < self.end)]
        hours = _hours(rows)
        over = hours + _HOUR <= (self.end - _AFTER) // _HOUR * _HOUR
        return rows[(hours >= self.begin) & over]

    def intervals(self) -> Iterator[tuple[int, Part]]:
        """When each interval with anything in it begins, and what is in it."""
        rows = self._kept
        begins = (_hours(rows) if self.of_hours else rows.at) // self.width * self.width
        for begin in np.unique(begins).tolist():
            some = rows[begins == begin]
            yield begin, _in_hours(some) if self.of_hours else Part(some.seconds, some.values, partial(_uses, some))

    def observed(self) -> Iterator[tuple[int, float]]:
        """How many seconds ended in which interval."""
        rows = self._kept
        begins = (_hours(rows) if self.of_hours else rows.at - 1) // self.width * self.width
        for begin in np.unique(begins).tolist():
            yield begin, float(rows[begins == begin].seconds.sum())


def _hours(rows: Rows) -> Integers:
    """When the hour of each begins."""
    return (rows.at - 1) // _HOUR * _HOUR


def _uses(rows: Rows) -> dict[Use, Floats]:
    used = rows.use
    return {use: np.where(used == use.word, rows.seconds, 0.0) for use in Use}


def _in_hours(rows: Rows) -> Part:
    hours = _hours(rows)
    each = [rows[hours == hour] for hour in np.unique(hours)]
    seconds = np.array([some.seconds.sum() for some in each])
    return Part(seconds, lambda metric: np.array([_hour(metric, some) for some in each]), partial(_uses, rows))


def _hour(metric: str, rows: Rows) -> float:
    """What an hour keeps of a metric: rounded to its step."""
    of = BY_NAME[metric]
    value = rolled(metric, rows.values(metric), rows.seconds, adds=True)
    step = of.step.numerator / of.step.denominator
    return float("nan") if value is None else float(np.floor(value / step + 0.5) * step)


def rolled(metric: str, values: Floats, seconds: Floats, *, adds: bool = False) -> float | None:
    """One value of several; None where none is known. What adds up is so much a second, unless `adds`."""
    known = ~np.isnan(values)
    if not known.any():
        return None
    values, seconds = values[known], seconds[known]
    match BY_NAME[metric].rollup:
        case Rollup.MEAN:
            return float((values * seconds).sum() / seconds.sum())
        case Rollup.SUM:
            return float(values.sum() if adds else values.sum() / seconds.sum())
        case Rollup.MAX:
            return float(values.max())
        case Rollup.MIN:
            return float(values.min())
        case Rollup.LAST:
            return float(values[-1])
        case _:
            return float(np.bitwise_or.reduce(values.astype(np.int64)))


def lost(metrics: Sequence[str]) -> float:
    """By how much a value may be off: an hour is rounded to a step of the metric, and a half goes either way."""
    return 1.01 * max(BY_NAME[metric].step.numerator / BY_NAME[metric].step.denominator for metric in metrics)


def gpus(seen: Seen, nodes: Sequence[str], uuids: Sequence[str] | None = None) -> Iterator[Gpu]:
    """The GPUs of the chosen nodes that were ever sampled, or some of them."""
    for number, node in enumerate(seen.world.sent.nodes):
        if node.node.id in nodes:
            of_node = seen.every[seen.every.node == number]
            for place, uuid in enumerate(node.uuids):
                if uuids is None or uuid in uuids:
                    rows = of_node[of_node.gpu == place]
                    yield Gpu(rows, node, place, seen.begin, seen.end, seen.interval)


def chosen(seen: Seen) -> Gpu:
    """The GPU that is chosen."""
    (found,) = gpus(seen, seen.values("node"), seen.values("gpu"))
    return found


def of_metric(seen: Seen, metric: str) -> Series:
    """A metric of each GPU of the node."""
    return of_each(seen, lambda part: rolled(metric, part.values(metric), part.seconds))


def of_each(seen: Seen, value: Callable[[Part], float | None]) -> Series:
    """A value of each GPU of the node, by time, position (in two places) and UUID."""
    return {
        (begin, f"{gpu.place:2}", gpu.node.uuids[gpu.place]): [value(part)]
        for gpu in gpus(seen, seen.values("node"))
        for begin, part in gpu.intervals()
    }


def of_one(seen: Seen, values: Callable[[Part], Sequence[float | None]]) -> Series:
    """Values of the chosen GPU, by time."""
    return {(begin,): values(part) for begin, part in chosen(seen).intervals()}


def most_used(part: Part) -> float:
    """The number of the Use that most time was of; of two with as much, what is more of a use."""
    order = (Use.ACTIVE, Use.HELD, Use.FREE, Use.UNKNOWN)
    uses = part.uses()
    totals = {use: round(float(uses[use].sum()), 6) for use in order}
    return float(max(order, key=lambda use: totals[use]).value)


def coverage(seen: Seen, some: Sequence[Gpu], there: int) -> Series:
    """Which share of the time of `there` GPUs is in samples, of what could have been told when it was asked."""
    width = some[0].width
    told: dict[int, float] = {}
    for gpu in some:
        for begin, seconds in gpu.observed():
            told[begin] = told.get(begin, 0.0) + seconds
    last = max(plain(row[0]) for row in seen.asked.rows)
    return {
        (begin,): [min(1.0, told.get(begin, 0.0) / (_shown(seen, begin, width) * there))]
        for begin in range(seen.begin // width * width, last + 1, width)
    }


def _shown(seen: Seen, begin: int, width: int) -> float:
    return (min(begin + width, seen.end) - max(begin, seen.begin)) / 1e6
