"""Samples of a GPU rolled up into buckets by the database, each metric as its catalogue entry says."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from gpufleet_agent.catalogue import Metric, Rollup
from sqlalchemy import BigInteger, ColumnElement, Connection, RowMapping, Select, case, cast, func, select
from sqlalchemy.sql.base import ReadOnlyColumnCollection

from gpufleet_server.queries.buckets import Grid
from gpufleet_server.store.schema import samples

_WEIGHT = cast(case((samples.c.duration > 0, samples.c.duration), else_=1), BigInteger)


@dataclasses.dataclass(frozen=True, slots=True)
class Bucket:
    """What the samples of one bucket say: ms observed, the newest one's time, and values in the metrics' units."""

    observed: int
    newest: int
    values: dict[str, float | int | None]


def of_buckets(connection: Connection, gpu_id: int, grid: Grid, metrics: Sequence[Metric]) -> dict[int, Bucket]:
    """The buckets that hold samples, by their place in the grid."""
    each = _each(gpu_id, grid, metrics).subquery()
    parts = [part for metric in metrics for part in _parts(metric, each.c)]
    totals = [func.sum(each.c.duration).label("observed"), func.max(each.c.ts).label("newest")]
    query = select(each.c.bucket, *totals, *parts).group_by(each.c.bucket)
    found = {}
    for row in connection.execute(query).mappings():
        values = {metric.name: _rolled(metric, row) for metric in metrics}
        found[row["bucket"] - grid.first] = Bucket(int(row["observed"]), row["newest"], values)
    return found


def _each(gpu_id: int, grid: Grid, metrics: Sequence[Metric]) -> Select[Any]:
    """The samples of the range with the bucket in which each ended."""
    # Rounds up, and like the grid puts a sample that ends on an edge into the bucket before it.
    bucket = (samples.c.ts + (grid.step - 1)) // grid.step - 1
    columns = [samples.c[metric.name] for metric in metrics]
    newest = [_newest(metric, bucket) for metric in metrics if metric.rollup is Rollup.LAST]
    query = select(samples.c.ts, samples.c.duration, bucket.label("bucket"), _WEIGHT.label("weight"), *columns, *newest)
    return query.where(samples.c.gpu_id == gpu_id, samples.c.ts > grid.start, samples.c.ts <= grid.end)


def _newest(metric: Metric, bucket: ColumnElement[int]) -> ColumnElement[Any]:
    present = case((samples.c[metric.name].is_not(None), samples.c.ts))
    return func.max(present).over(partition_by=bucket).label(f"{metric.name}_newest")


def _parts(metric: Metric, each: ReadOnlyColumnCollection[str, Any]) -> Iterator[ColumnElement[Any]]:
    """The aggregates that a metric's rollup is made of."""
    name, column = metric.name, each[metric.name]
    match metric.rollup:
        case Rollup.MEAN:
            yield func.sum(column * each.weight).label(name)
            yield func.sum(case((column.is_not(None), each.weight))).label(f"{name}_weight")
        case Rollup.SUM:
            yield func.sum(column).label(name)
        case Rollup.MAX:
            yield func.max(column).label(name)
        case Rollup.MIN:
            yield func.min(column).label(name)
        case Rollup.LAST:
            yield func.max(case((each.ts == each[f"{name}_newest"], column))).label(name)
        case Rollup.ANY:
            yield from (func.max(column.bitwise_and(1 << bit)).label(f"{name}_{bit}") for bit in _bits(metric))


def _rolled(metric: Metric, row: RowMapping) -> float | int | None:
    if metric.rollup is Rollup.ANY:
        set_bits = [row[f"{metric.name}_{bit}"] for bit in _bits(metric)]
        return None if set_bits[0] is None else sum(set_bits)
    if row[metric.name] is None:
        return None
    weight = int(row[f"{metric.name}_weight"]) if metric.rollup is Rollup.MEAN else 1
    up, down = metric.step.numerator, metric.step.denominator * weight
    total = int(row[metric.name]) * up
    return total if down == 1 else total / down


def _bits(metric: Metric) -> range:
    return range(8 * metric.width - 1)
