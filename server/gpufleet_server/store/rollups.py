"""Rollups of each GPU: an hour's point from its samples, a day's point from its hours."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, RESERVED, Metric, Reason, Rollup
from sqlalchemy import Connection, RowMapping, delete, select, tuple_

from gpufleet_server.domain.use import Use, metrics, use
from gpufleet_server.store import partitions
from gpufleet_server.store.blocks import Block, Ints, cut, from_planes, merge, to_planes
from gpufleet_server.store.bulk import insert_new, insert_rows
from gpufleet_server.store.engine import Store
from gpufleet_server.store.leases import ROLLUPS, alone
from gpufleet_server.store.tiers import DAILY, DAY, HOURLY, USES, Tier, begin_of, due

METRICS = tuple(metric.name for metric in EVERY_SAMPLE)
# A day is rolled up so long after its end: its last hour is sealed by then.
AFTER_DAY = 10 * 60 * 1_000_000
_DAY_DUE = "day"
_NODES = 100
_LARGEST = 1 << 62
_MOST_MS = (1 << 31) - 1


def point(block: Block, end: int) -> Block:
    """All of a block, samples or points of a rollup, as one point at `end` (µs).

    Means are weighted by durations. What no sample had a value of is absent for the reason of the last one.
    """
    observed, last = block.durations.sum(axis=0), _last(block.durations > 0)
    columns = {
        name: _rolled(BY_NAME[name], values, block.durations, observed, last)
        for name, values in block.columns.items()
        if name in BY_NAME
    }
    columns |= _uses(block)
    rows = {name: each.reshape(1, -1) for name, each in columns.items()}
    return Block(block.slots, np.array([end]), _total_ms(block.durations).reshape(1, -1), rows)


def put(connection: Connection, tier: Tier, points: Mapping[int, Block]) -> None:
    """Put a point of each node into its row of a rollup tier; all of one call lie in one span.

    Where a GPU has one of that time already, the one stays that more was observed of: its samples may be gone.
    """
    if points:
        span = begin_of(int(next(iter(points.values())).times[0]), tier.span)
        there = take_planes(connection, tier, span, list(points))
        add_planes(
            connection, tier, span, {node_id: _joined(there.get(node_id), new) for node_id, new in points.items()}
        )


def take_planes(connection: Connection, tier: Tier, span: int, nodes: Sequence[int]) -> dict[int, Block]:
    """Delete the rows of these nodes of a span, and hand them over."""
    table = tier.table
    names = (*METRICS, *(USES if tier.step is not None else ()))
    statement = delete(table).where(table.c.node_id.in_(nodes), table.c.span == span).returning(table)
    return {row.node_id: from_planes(row._asdict(), tier, names) for row in connection.execute(statement)}


def add_planes(connection: Connection, tier: Tier, span: int, blocks: Mapping[int, Block]) -> None:
    """Insert each node's block as its row of a span."""
    names = [column.name for column in tier.table.c]
    rows = (_row(tier, {"node_id": node_id, "span": span}, block, names) for node_id, block in blocks.items())
    insert_rows(connection, tier.table, names, rows)


def owe_day(connection: Connection, nodes: Iterable[int], at: int) -> None:
    """Have the day of these nodes in which hours ended at `at` (µs) rolled up once it is over."""
    rows = [{"kind": _DAY_DUE, "node_id": node_id, "at": begin_of(at, DAY)} for node_id in nodes]
    insert_new(connection, due, rows)


def roll_days(store: Store, now: int, go_on: Callable[[], bool] = lambda: True) -> int:
    """Roll up each day that is due and over, some nodes in a transaction while `go_on` says so; how many."""
    done = 0
    while go_on():
        with store.writing() as connection:
            alone(connection, ROLLUPS)
            some = _some_days(connection, now)
            done += len(some)
        if not some:
            break
    return done


def _some_days(connection: Connection, now: int) -> Sequence[RowMapping]:
    over = (due.c.kind == _DAY_DUE) & (due.c.at <= now - DAY - AFTER_DAY)
    first = select(due.c.at).where(over).order_by(due.c.at).limit(1).scalar_subquery()
    some = select(due.c.node_id).where(over, due.c.at == first).order_by(due.c.node_id).limit(_NODES)
    rows = connection.execute(some.add_columns(due.c.at)).mappings().all()
    if rows:
        key = tuple_(due.c.node_id, due.c.at)
        connection.execute(delete(due).where(over, key.in_([(row["node_id"], row["at"]) for row in rows])))
        _roll_day(connection, [row["node_id"] for row in rows], rows[0]["at"])
    return rows


def _roll_day(connection: Connection, nodes: Sequence[int], begin: int) -> None:
    table = HOURLY.table
    query = select(table).where(table.c.node_id.in_(nodes), table.c.span == begin)
    hours = {row.node_id: from_planes(row._asdict(), HOURLY, (*METRICS, *USES)) for row in connection.execute(query)}
    partitions.make_for(connection, DAILY.table, begin_of(begin + DAY, DAILY.span))
    put(connection, DAILY, {node_id: point(block, begin + DAY) for node_id, block in hours.items()})


def _row(tier: Tier, key: dict[str, int], block: Block, names: Iterable[str]) -> list[Any]:
    row = key | to_planes(block, tier)
    return [row[name] for name in names]


def _joined(there: Block | None, new: Block) -> Block:
    if there is None:
        return new
    at = int(new.times[0])
    if at > there.times[-1] and np.array_equal(there.slots, new.slots) and there.columns.keys() == new.columns.keys():
        columns = {name: np.concatenate((values, new.columns[name])) for name, values in there.columns.items()}
        times, durations = (
            np.concatenate(both) for both in ((there.times, new.times), (there.durations, new.durations))
        )
        return Block(there.slots, times, durations, columns)
    return merge([_covering_more(new, cut(there, at - 1, at)), there])


def _covering_more(new: Block, old: Block) -> Block:
    """The new point without the GPUs of which the old one, if there is one, covers more."""
    covered = dict(zip(old.slots.tolist(), old.durations.sum(axis=0).tolist(), strict=True))
    before = np.array([covered.get(slot, 0) for slot in new.slots.tolist()])
    return Block(new.slots, new.times, np.where(new.durations >= before, new.durations, 0), new.columns)


def _uses(block: Block) -> dict[str, Ints]:
    """ms in each of USES, a GPU."""
    if USES[0] in block.columns:
        return {name: _total_ms(block.columns[name]) for name in USES}
    known = {name: block.columns[name] for name in metrics() if name in block.columns}
    shape = block.durations.shape
    uses = use(known) if known else np.full(shape, Use.UNKNOWN, np.int8)
    return {name: _total_ms(np.where(uses == Use[name.upper()], block.durations, 0)) for name in USES}


def _total_ms(durations: Ints) -> Ints:
    """ms a GPU. Samples that overlap, as those of a broken agent may, come to more than there is room for in a row."""
    total: Ints = np.minimum(durations.sum(axis=0, dtype=np.int64), _MOST_MS)
    return total


def _rolled(metric: Metric, values: Ints, durations: Ints, observed: Ints, last: Ints) -> Ints:
    """One stored integer a GPU; `last` is the row of each one's last sample, which tells why there is none."""
    present = values >= metric.lowest + RESERVED
    if present.all():
        return _summary(metric, values, durations, observed)
    there, reasons = present.any(axis=0), _at(values, last)
    if not there.any():
        return reasons
    weights = np.where(present, durations, 0)
    # What changes nothing: a mean's and a sum's zero, an extreme's opposite.
    neutral = {Rollup.MAX: metric.lowest, Rollup.MIN: metric.highest}.get(metric.rollup, 0)
    if metric.rollup is Rollup.LAST:
        return np.where(there, _at(values, _last(present)), reasons)
    total = np.maximum(weights.sum(axis=0), 1)
    return np.where(there, _summary(metric, np.where(present, values, neutral), weights, total), reasons)


def _summary(metric: Metric, values: Ints, weights: Ints, total: Ints) -> Ints:
    """Of values that are all there, or change nothing with a weight of 0."""
    found: Ints
    match metric.rollup:
        case Rollup.MEAN:
            # Rounded half up, as the catalogue stores values.
            found = (2 * (values * weights).sum(axis=0) + total) // (2 * total)
        case Rollup.SUM:
            too_large = values.sum(axis=0, dtype=np.float64) > _LARGEST
            found = np.where(too_large, metric.absent(Reason.IMPLAUSIBLE), values.sum(axis=0, dtype=np.int64))
        case Rollup.MAX:
            found = values.max(axis=0)
        case Rollup.MIN:
            found = values.min(axis=0)
        case Rollup.ANY:
            found = np.bitwise_or.reduce(values, axis=0)
        case Rollup.LAST:
            found = values[-1]
    return found


def _last(there: Any) -> Any:
    """The last row, a GPU, in which it is there; the last of all where it never is."""
    return there.shape[0] - 1 - np.argmax(there[::-1], axis=0)


def _at(values: Ints, rows: Any) -> Ints:
    found: Ints = values[rows, np.arange(values.shape[1])]
    return found
