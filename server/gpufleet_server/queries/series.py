"""A GPU's metrics over time: at a step, or sample by sample."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gpufleet_agent.catalogue import Cadence, Metric, Reason
from sqlalchemy import Connection, select

from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries import history, partitions, points, rollup
from gpufleet_server.queries.buckets import MAX_POINTS, Grid
from gpufleet_server.queries.latest import NOT_OBSERVED, State
from gpufleet_server.queries.rollup import Points, Rolled
from gpufleet_server.store.blocks import Block
from gpufleet_server.store.schema import gpus
from gpufleet_server.store.tiers import DAY


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A metric at each point, in its unit, and for each point without a value why."""

    metric: Metric
    values: list[float | int | None]
    reasons: list[str | None]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """Columns of equal length.

    At a step (µs) `times` (µs) are the beginnings of buckets; sample by sample (step None) the ends of intervals.
    `observed` is the ms that samples cover, `coverage` their share of the bucket, 0 to 1.
    """

    step: int | None
    times: list[int]
    coverage: list[float]
    observed: list[int]
    columns: list[Column]


def stepped(connection: Connection, gpu_id: int, grid: Grid, metrics: Sequence[Metric]) -> Series:
    """Each bucket's rollup, and for what is sent on change the value in force at its end."""
    node_id, slot = _place(connection, gpu_id)
    block = points.points(connection, node_id, _sampled(metrics), grid.start, grid.end, grid.step)
    return _stepped(connection, {gpu_id: slot}, block, grid, metrics)[gpu_id]


def of_node(
    connection: Connection, node_id: int, grid: Grid, metrics: Sequence[Metric]
) -> list[tuple[str, int | None, Series]]:
    """The same for each GPU that a node holds, with its UUID and index, by index: its blocks are read once."""
    here = (gpus.c.node_id == node_id) & gpus.c.removed_at.is_(None)
    query = select(gpus.c.gpu_id, gpus.c.slot, gpus.c.uuid, gpus.c.position).where(here)
    rows = sorted(connection.execute(query), key=lambda row: (row.position is None, row.position or 0, row.gpu_id))
    block = points.points(connection, node_id, _sampled(metrics), grid.start, grid.end, grid.step)
    found = _stepped(connection, {row.gpu_id: row.slot for row in rows}, block, grid, metrics)
    return [(row.uuid, row.position, found[row.gpu_id]) for row in rows]


def raw(connection: Connection, gpu_id: int, start: int, end: int, metrics: Sequence[Metric]) -> Series:
    """Each sample that ended in (start, end]. Problem 422 naming `step` where there are too many."""
    node_id, slot = _place(connection, gpu_id)
    if end - start > DAY:
        # Without metrics first: what is refused should cost little.
        _check(rollup.of_slot(points.samples(connection, node_id, (), start, end), slot))
    found = rollup.of_slot(points.samples(connection, node_id, _sampled(metrics), start, end), slot)
    _check(found)
    times: list[int] = found.times.tolist()
    values = {metric.name: _values(metric, found) for metric in metrics if metric.cadence is Cadence.EVERY_SAMPLE}
    lacking = _lacking(values, len(times))
    past = history.of(connection, [gpu_id], _asked(metrics) | lacking, Grid(start, end, 1))[gpu_id]
    columns = []
    for metric in metrics:
        if metric.cadence is Cadence.ON_CHANGE:
            columns.append(_in_force(metric, past, times))
        else:
            columns.append(Column(metric, values[metric.name], _reasons(metric, values[metric.name], past, times)))
    return Series(
        step=None, times=times, coverage=[1.0] * len(times), observed=found.durations.tolist(), columns=columns
    )


def of_partition(connection: Connection, node_id: int, slot: int, grid: Grid, metrics: Sequence[Metric]) -> Series:
    """The same as `stepped` for the partition in a slot of a node; its samples say themselves why values are absent."""
    block = points.points(connection, node_id, _sampled(metrics), grid.start, grid.end, grid.step)
    found = rollup.of_slot(block, slot)
    rolled = rollup.of_grid(found, grid, [metric for metric in metrics if metric.cadence is Cadence.EVERY_SAMPLE])
    edges = [grid.edges(number) for number in range(len(grid))]
    nothing: list[float | int | None] = [None] * len(grid)
    return Series(
        step=grid.step,
        times=grid.begins(),
        coverage=[_share(seen, begin, end) for seen, (begin, end) in zip(rolled.observed, edges, strict=True)],
        observed=rolled.observed,
        columns=[_of_partition(m, rolled.values.get(m.name, nothing), found, rolled.newest) for m in metrics],
    )


def raw_of_partition(
    connection: Connection, node_id: int, slot: int, start: int, end: int, metrics: Sequence[Metric]
) -> Series:
    """The same as `raw`, likewise."""
    if end - start > DAY:
        _check(rollup.of_slot(points.samples(connection, node_id, (), start, end), slot))
    found = rollup.of_slot(points.samples(connection, node_id, _sampled(metrics), start, end), slot)
    _check(found)
    times: list[int] = found.times.tolist()
    return Series(
        step=None,
        times=times,
        coverage=[1.0] * len(times),
        observed=found.durations.tolist(),
        columns=[_of_partition(metric, _values(metric, found), found, times) for metric in metrics],
    )


def _of_partition(metric: Metric, values: list[float | int | None], found: Points, at: Sequence[int | None]) -> Column:
    """A column with the reasons that the samples at those times give for absent values."""
    if not metric.of_partitions:
        return Column(metric, values, [Reason.UNSUPPORTED.word] * len(values))
    places = {time: place for place, time in enumerate(found.times.tolist())}
    reasons = [
        None if value is not None else NOT_OBSERVED if time is None else partitions.reason(metric, found, places[time])
        for value, time in zip(values, at, strict=True)
    ]
    return Column(metric, values, reasons)


def _stepped(
    connection: Connection, slots: Mapping[int, int], block: Block, grid: Grid, metrics: Sequence[Metric]
) -> dict[int, Series]:
    """A series for each of a node's GPUs, given their slots; what was in force is asked for all of them at once."""
    sampled = [metric for metric in metrics if metric.cadence is Cadence.EVERY_SAMPLE]
    rolled = {gpu_id: rollup.of_grid(rollup.of_slot(block, slot), grid, sampled) for gpu_id, slot in slots.items()}
    names = _asked(metrics).union(
        *(_lacking(one.values, len(one.newest) - one.newest.count(None)) for one in rolled.values())
    )
    past = history.of(connection, list(slots), names, grid)
    edges = [grid.edges(number) for number in range(len(grid))]
    return {gpu_id: _series(one, past[gpu_id], grid, edges, metrics) for gpu_id, one in rolled.items()}


def _series(
    rolled: Rolled, past: history.History, grid: Grid, edges: Sequence[tuple[int, int]], metrics: Sequence[Metric]
) -> Series:
    ends = [end for _, end in edges]
    columns = []
    for metric in metrics:
        if metric.cadence is Cadence.ON_CHANGE:
            columns.append(_in_force(metric, past, ends))
        else:
            values = rolled.values[metric.name]
            columns.append(Column(metric, values, _reasons(metric, values, past, rolled.newest)))
    return Series(
        step=grid.step,
        times=grid.begins(),
        coverage=[_share(seen, begin, end) for seen, (begin, end) in zip(rolled.observed, edges, strict=True)],
        observed=rolled.observed,
        columns=columns,
    )


def _place(connection: Connection, gpu_id: int) -> tuple[int, int]:
    """A GPU's node and its slot there."""
    node_id, slot = connection.execute(select(gpus.c.node_id, gpus.c.slot).where(gpus.c.gpu_id == gpu_id)).one()
    return node_id, slot


def _sampled(metrics: Sequence[Metric]) -> list[str]:
    return [metric.name for metric in metrics if metric.cadence is Cadence.EVERY_SAMPLE]


def _asked(metrics: Sequence[Metric]) -> set[str]:
    """Those that are sent on change: their states are their values."""
    return {metric.name for metric in metrics if metric.cadence is Cadence.ON_CHANGE}


def _lacking(values: Mapping[str, list[Any]], sampled: int) -> set[str]:
    """Metrics that have fewer values than there are samples: their states say why."""
    return {name for name, column in values.items() if len(column) - column.count(None) < sampled}


def _check(found: Points) -> None:
    if len(found.times) > MAX_POINTS:
        raise Problem(422, f"there are more than {MAX_POINTS} samples: ask for less time, or for a step", "step")


def _values(metric: Metric, found: Points) -> list[float | int | None]:
    if metric.name not in found.columns:
        return [None] * len(found.times)
    return [metric.value(stored) for stored in found.columns[metric.name].tolist()]


def _in_force(metric: Metric, past: history.History, times: Sequence[int]) -> Column:
    states = past.at_each(metric.name, times)
    # Hundreds of times are in few states, most often in one.
    known = {id(state): state for state in (states[:1] if len(set(map(id, states))) == 1 else states)}
    told = {key: _told(metric, state) for key, state in known.items()}
    if len(told) == 1:
        (value, reason), count = next(iter(told.values())), len(states)
        return Column(metric, [value] * count, [reason] * count)
    values, reasons = zip(*(told[id(state)] for state in states), strict=True) if states else ((), ())
    return Column(metric, list(values), list(reasons))


def _told(metric: Metric, state: State | None) -> tuple[float | int | None, str | None]:
    value = _value(metric, state.value if state else None)
    return value, None if value is not None else history.why(state)


def _reasons(
    metric: Metric, values: Sequence[Any], past: history.History, at: Sequence[int | None]
) -> list[str | None]:
    """Why values are absent: what was in force at the newest sample there; without a sample, nobody looked."""
    if None not in values:
        return [None] * len(values)
    known = past.at_each(metric.name, [time or 0 for time in at])
    return [
        None if value is not None else NOT_OBSERVED if time is None else history.why(state)
        for value, time, state in zip(values, at, known, strict=True)
    ]


def _value(metric: Metric, stored: int | None) -> float | int | None:
    return None if stored is None else metric.value(stored)


def _share(observed_ms: int, begin: int, end: int) -> float:
    return min(1.0, observed_ms * 1000 / (end - begin)) if end > begin else 0.0
