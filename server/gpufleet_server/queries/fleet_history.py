"""A metric of the fleet over time, by site, model or use; and how long its GPUs were free, held and active."""

import collections
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from gpufleet_agent.catalogue import Metric, Rollup
from sqlalchemy import ColumnElement, Connection, Select, Subquery, case, func, literal, select

from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.use import Use
from gpufleet_server.queries import buckets, groups
from gpufleet_server.queries.buckets import Grid
from gpufleet_server.queries.filters import FleetFilter
from gpufleet_server.queries.groups import MINUTE, By
from gpufleet_server.store.tiers import DAY, HOUR, fleet_groups

_OVER_TIME = (Rollup.MEAN, Rollup.SUM)
# Unless a step is given, what is short is told by the minute, what is long by six hours, all else by the hour.
_SHORT, _LONG = 6 * HOUR, 14 * DAY
_MS_AN_HOUR = 3_600_000
# label → how to total it, and what.
_Parts = dict[str, tuple[Callable[[Any], Any], ColumnElement[Any]]]


@dataclasses.dataclass(frozen=True, slots=True)
class Line:
    """A part of the fleet (None: those without a site or model, or all) at each time.

    `values` in the metric's unit, None where nothing was observed; `observed` is GPU-ms; `coverage` the share, 0 to 1,
    of the time of all GPUs owned that was observed, None by use. `simulated` is the GPU-ms that simulated GPUs were.
    """

    name: str | None
    values: list[float | int | None]
    observed: list[int]
    coverage: list[float | None]
    simulated: int


@dataclasses.dataclass(frozen=True, slots=True)
class FleetHistory:
    """Lines at the beginnings of buckets (µs) of `step` µs; `coverage` is that of all of them together."""

    metric: Metric
    grid: Grid
    lines: list[Line]
    coverage: list[float | None]

    @property
    def times(self) -> list[int]:
        """The beginnings of the buckets."""
        return self.grid.begins()


@dataclasses.dataclass(frozen=True, slots=True)
class UseHours:
    """A part of the fleet: hours of GPUs in each use, how many hours its GPUs had, and the share that was observed.

    `simulated` is the share of what was observed that was of simulated GPUs, None where nothing was.
    """

    name: str | None
    hours: dict[Use, float]
    owned: float
    coverage: float | None
    simulated: float | None


def grid(start: int, end: int, step: int | None) -> Grid:
    """The buckets of a history, whole from the first on. Problem 422 naming `step` where it is not whole minutes."""
    usual = MINUTE if end - start <= _SHORT else HOUR if end - start <= _LONG else 6 * HOUR
    chosen = buckets.grid(start, end, step, usual // 1000)
    if chosen.step % MINUTE:
        raise Problem(
            422, f"a step of {chosen.step / 1e6:g} s is not whole minutes, which the fleet's history is", "step"
        )
    return Grid(chosen.start // chosen.step * chosen.step, end, chosen.step)


def history(connection: Connection, metric: Metric, by: By | None, wanted: FleetFilter, over: Grid) -> FleetHistory:
    """A metric by site, model or use, or of all: means weighted by time, sums as totals a bucket."""
    columns = ["observed", metric.name, *([f"{metric.name}_ms"] if metric.rollup in _OVER_TIME else [])]
    coarse = over.step % HOUR == 0
    rows = groups.rows(connection, columns, wanted, over.start, _whole(over.end), coarse=coarse).subquery()
    place = ((rows.c.ts - 1) // over.step - over.first).label("place")
    found: dict[str | None, dict[int, Mapping[Any, Any]]] = {}
    for row in connection.execute(_by_name(by, rows, place, _parts(connection, metric, rows))).mappings():
        found.setdefault(row["name"] or None, {})[row["place"]] = row
    ends = [over.edges(number)[1] for number in range(len(over))]
    owned = groups.owned(connection, by, wanted, ends)
    lines = [_line(metric, name, found.get(name, {}), over, owned.get(name, [])) for name in _names(found, owned, by)]
    return FleetHistory(
        metric,
        over,
        lines,
        _shares(over, _sums(lines, over), [sum(each) for each in zip(*owned.values(), strict=True)]),
    )


def use_hours(connection: Connection, by: By | None, wanted: FleetFilter, start: int, end: int) -> list[UseHours]:
    """Free, held, active and unknown GPU-hours of (start, end], minutes that it cuts included, by site or model."""
    start = start // MINUTE * MINUTE if start < end else end
    rows = groups.rows(connection, ["observed"], wanted, start, _whole(end), coarse=True).subquery()
    observed: _Parts = {"observed": (func.sum, rows.c.observed)}
    found: dict[str | None, dict[Use, int]] = {}
    simulated = collections.Counter[str | None]()
    uses = {use.word: use for use in Use}
    for row in connection.execute(_by_name(by, rows, None, observed, fleet_groups.c.state)):
        if row.state in uses:
            found.setdefault(row.name or None, dict.fromkeys(Use, 0))[uses[row.state]] = int(row.observed)
            simulated[row.name or None] += int(row.simulated)
    begin = min(groups.begun(connection, start), end)
    instants = [begin + (end - begin) * n // 24 for n in range(1, 25)]
    counts = groups.owned(connection, by, wanted, instants)
    length = (end - begin) / HOUR
    return [
        _use(name, found.get(name, {}), length * sum(counts.get(name, [])) / len(instants), simulated[name])
        for name in _names(found, counts, by)
    ]


def _whole(end: int) -> int:
    """The end of the minute that is running at `end`: what is known of it counts."""
    return -(-end // MINUTE) * MINUTE


def _use(name: str | None, ms: Mapping[Use, int], owned: float, simulated: int) -> UseHours:
    observed, hours = sum(ms.values()), {use: ms.get(use, 0) / _MS_AN_HOUR for use in Use}
    coverage = min(1.0, observed / _MS_AN_HOUR / owned) if owned else None
    return UseHours(name, hours, owned, coverage, simulated / observed if observed else None)


def _names(found: Mapping[str | None, Any], owned: Mapping[str | None, Any], by: By | None) -> list[str | None]:
    names = set(found) | (set(owned) if by != "state" else set())
    return sorted(names, key=lambda name: (name is None, name or ""))


def _by_name(
    by: By | None, rows: Subquery, place: ColumnElement[int] | None, parts: _Parts, *more: ColumnElement[Any]
) -> Select[Any]:
    """The parts by name and place, and how much of what was `observed` is simulated.

    First by group, whose number is quicker to tell apart than its names are.
    """
    keys = [rows.c.group_id, *([place] if place is not None else [])]
    totals = (total(cells).label(label) for label, (total, cells) in parts.items())
    each = select(*keys, *totals).group_by(*keys).subquery()
    name = (fleet_groups.c[by] if by else literal("")).label("name")
    of = [name, *([each.c.place] if place is not None else []), *more]
    simulated = func.sum(case((fleet_groups.c.simulated, each.c.observed), else_=0)).label("simulated")
    query = select(*of, simulated, *(total(each.c[label]).label(label) for label, (total, _) in parts.items()))
    return query.join_from(each, fleet_groups, each.c.group_id == fleet_groups.c.group_id).group_by(*of)


def _parts(connection: Connection, metric: Metric, rows: Subquery) -> _Parts:
    """What is totalled, and how, first over a group's rows and then over groups."""
    cells = rows.c[metric.name]
    parts: _Parts = {"observed": (func.sum, rows.c.observed)}
    match metric.rollup:
        case Rollup.MEAN | Rollup.SUM:
            over: _Parts = {"total": (func.sum, cells), "ms": (func.sum, rows.c[f"{metric.name}_ms"])}
            return parts | over
        case Rollup.ANY if connection.dialect.name == "postgresql":
            return parts | {"total": (func.bit_or, cells)}
        case Rollup.ANY:
            # SQLite has no such function: bit by bit.
            return parts | {f"bit_{n}": (func.max, cells.bitwise_and(1 << n)) for n in range(8 * metric.width - 1)}
        case Rollup.MIN:
            return parts | {"total": (func.min, cells)}
        case Rollup.MAX | Rollup.LAST:
            return parts | {"total": (func.max, cells)}


def _line(
    metric: Metric, name: str | None, found: Mapping[int, Mapping[Any, Any]], over: Grid, owned: Sequence[float]
) -> Line:
    values = [_value(metric, found[n]) if n in found else None for n in range(len(over))]
    observed = [int(found[n]["observed"]) if n in found else 0 for n in range(len(over))]
    simulated = sum(int(row["simulated"]) for row in found.values())
    return Line(name, values, observed, _shares(over, observed, owned), simulated)


def _value(metric: Metric, row: Mapping[Any, Any]) -> float | int | None:
    total, ms = row["total"] if "total" in row else _united(metric, row), row.get("ms", 1)
    if total is None or not ms:
        return None
    if metric.rollup is Rollup.ANY:
        return int(total)
    scaled = total * metric.step.numerator / metric.step.denominator
    return float(scaled / int(ms) if metric.rollup is Rollup.MEAN else scaled)


def _united(metric: Metric, row: Mapping[Any, Any]) -> int | None:
    bits = [row[f"bit_{n}"] for n in range(8 * metric.width - 1)]
    return None if bits[0] is None else sum(bits)


def _shares(over: Grid, observed: Sequence[int], owned: Sequence[float]) -> list[float | None]:
    lengths = (end - begin for begin, end in (over.edges(number) for number in range(len(over))))
    return [
        min(1.0, seen * 1000 / (gpus * length)) if gpus and length > 0 else None
        for seen, gpus, length in zip(observed, owned or [0.0] * len(over), lengths, strict=True)
    ]


def _sums(lines: Sequence[Line], over: Grid) -> list[int]:
    return [sum(line.observed[n] for line in lines) for n in range(len(over))]
