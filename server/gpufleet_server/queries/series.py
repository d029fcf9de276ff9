"""A GPU's metrics over time: at a step, or sample by sample."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from gpufleet_agent.catalogue import Cadence, Metric
from sqlalchemy import Connection, select

from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries import history, rollup
from gpufleet_server.queries.buckets import MAX_POINTS, Grid
from gpufleet_server.queries.latest import NOT_OBSERVED
from gpufleet_server.store.schema import samples


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
    sampled = [metric for metric in metrics if metric.cadence is Cadence.EVERY_SAMPLE]
    found = rollup.of_buckets(connection, gpu_id, grid, sampled)
    ends = [grid.edges(number)[1] for number in range(len(grid))]
    newest = [found[n].newest if n in found else None for n in range(len(grid))]
    past = history.of(connection, gpu_id, [metric.name for metric in metrics], grid)
    observed = [found[n].observed if n in found else 0 for n in range(len(grid))]
    columns = []
    for metric in metrics:
        if metric.cadence is Cadence.ON_CHANGE:
            columns.append(_in_force(metric, past, ends))
        else:
            values = [found[n].values[metric.name] if n in found else None for n in range(len(grid))]
            columns.append(Column(metric, values, _reasons(metric, values, past, newest)))
    return Series(
        step=grid.step,
        times=grid.begins(),
        coverage=[_share(seen, *grid.edges(number)) for number, seen in enumerate(observed)],
        observed=observed,
        columns=columns,
    )


def raw(connection: Connection, gpu_id: int, start: int, end: int, metrics: Sequence[Metric]) -> Series:
    """Each sample that ended in (start, end]. Problem 422 naming `step` where there are too many."""
    sampled = [metric for metric in metrics if metric.cadence is Cadence.EVERY_SAMPLE]
    query = select(samples.c.ts, samples.c.duration, *(samples.c[metric.name] for metric in sampled))
    query = query.where(samples.c.gpu_id == gpu_id, samples.c.ts > start, samples.c.ts <= end)
    rows = connection.execute(query.order_by(samples.c.ts).limit(MAX_POINTS + 1)).mappings().all()
    if len(rows) > MAX_POINTS:
        raise Problem(422, f"there are more than {MAX_POINTS} samples: ask for less time, or for a step", "step")
    times = [row["ts"] for row in rows]
    past = history.of(connection, gpu_id, [metric.name for metric in metrics], Grid(start, end, 1))
    columns = []
    for metric in metrics:
        if metric.cadence is Cadence.ON_CHANGE:
            columns.append(_in_force(metric, past, times))
        else:
            values = [_value(metric, row[metric.name]) for row in rows]
            columns.append(Column(metric, values, _reasons(metric, values, past, times)))
    return Series(
        step=None,
        times=times,
        coverage=[1.0] * len(times),
        observed=[row["duration"] for row in rows],
        columns=columns,
    )


def _in_force(metric: Metric, past: history.History, times: Sequence[int]) -> Column:
    states = past.at_each(metric.name, times)
    values = [_value(metric, state.value if state else None) for state in states]
    reasons = [None if v is not None else history.why(s) for v, s in zip(values, states, strict=True)]
    return Column(metric, values, reasons)


def _reasons(
    metric: Metric, values: Sequence[Any], past: history.History, at: Sequence[int | None]
) -> list[str | None]:
    """Why values are absent: what was in force at the newest sample there; without a sample, nobody looked."""
    known = past.at_each(metric.name, [time or 0 for time in at])
    return [
        None if value is not None else NOT_OBSERVED if time is None else history.why(state)
        for value, time, state in zip(values, at, known, strict=True)
    ]


def _value(metric: Metric, stored: int | None) -> float | int | None:
    return None if stored is None else metric.value(stored)


def _share(observed_ms: int, begin: int, end: int) -> float:
    return min(1.0, observed_ms * 1000 / (end - begin)) if end > begin else 0.0
