"""Usage intervals one by one: who held which GPU from when to when."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, func, select

from gpufleet_server.domain.usage import DAY
from gpufleet_server.queries import paging
from gpufleet_server.queries.filters import Conditions
from gpufleet_server.queries.holder import COLUMNS, Holder, of_row
from gpufleet_server.queries.paging import Key, Order, Page
from gpufleet_server.queries.usage import Range
from gpufleet_server.queries.usage_parts import UsageFilter, held_by, of_gpus, placed
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import HOUR
from gpufleet_server.store.usage import holders, owners, usage

# The newest first.
_ORDER = Order(
    "usage intervals",
    [
        Key(usage.c.begin, int, descending=True),
        Key(usage.c.node_id, int),
        Key(usage.c.slot, int),
        Key(usage.c.holder_id, int),
        Key(usage.c.partition, str),
    ],
)
_MONTH = 31 * DAY
_SUMMED = (
    *("begin", "end", "partition", "observed", "active", "held", "processes"),
    *("memory_sum", "memory_ms", "memory_most", "activity_sum", "activity_ms"),
)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """One holder on one GPU, or on a partition of it, within a day UTC. Times µs; ms; bytes; `activity` 0 to 1."""

    holder: Holder
    gpu: str
    partition: str | None
    node_id: str
    hostname: str
    site: str | None
    model: str | None
    simulated: bool
    begin: int
    end: int
    observed: int
    active: int
    held: int
    memory_mean: float | None
    memory_most: int | None
    activity: float | None
    processes: int


def listing(
    connection: Connection, wanted: UsageFilter, when: Range, *, limit: int, cursor: str | None = None
) -> Page[Interval]:
    """Intervals that overlap a range, whole, the newest first. Problem 422 where the cursor is bad."""
    overlapping = (usage.c.begin < when.until, (usage.c.end > when.since) | (usage.c.begin >= when.since))
    query = _intervals().where(*overlapping, *held_by(wanted), *placed(wanted), *of_gpus(wanted))
    if wanted.model:
        query = query.where(gpus.c.model.in_(wanted.model))
    query = paging.page(query, _ORDER, limit, cursor)
    rows: Sequence[Row[Any]] = []
    for begin in _beginnings(when, cursor):
        rows = connection.execute(query.where(usage.c.begin >= begin)).all()
        if len(rows) > limit:
            break
    rows, following = paging.cut(rows, _ORDER, limit)
    return Page([_interval(row) for row in rows], following)


def _beginnings(when: Range, cursor: str | None) -> list[int]:
    """From when on a page is looked for, one after the other: mostly it is full of the last hour or day."""
    place = paging.place(_ORDER, cursor)
    newest = when.until if place is None else min(when.until, int(place[0]))
    first = when.since // DAY * DAY
    return list(dict.fromkeys(max(first, begin) for begin in (newest - HOUR, newest // DAY * DAY, first)))


def _intervals() -> Select[Any]:
    at_gpu = and_(gpus.c.node_id == usage.c.node_id, gpus.c.slot == usage.c.slot)
    tables = usage.join(holders, holders.c.holder_id == usage.c.holder_id)
    tables = tables.join(owners, owners.c.owner_id == holders.c.owner_id)
    tables = tables.join(nodes, nodes.c.node_id == usage.c.node_id).join(gpus, at_gpu)
    return select(
        *(usage.c[name] for name in _SUMMED),
        *COLUMNS,
        gpus.c.uuid.label("gpu"),
        gpus.c.model,
        nodes.c.uuid.label("node_uuid"),
        *(nodes.c[name] for name in ("hostname", "site", "simulated")),
    ).select_from(tables)


def _interval(row: Row[Any]) -> Interval:
    same = ("gpu", "hostname", "site", "model", "simulated", "begin", "end", "observed", "active", "held", "processes")
    return Interval(
        holder=of_row(row),
        node_id=row.node_uuid,
        partition=row.partition or None,
        memory_mean=1024 * row.memory_sum / row.memory_ms if row.memory_ms else None,
        memory_most=row.memory_most if row.memory_most >= 0 else None,
        activity=row.activity_sum / row.activity_ms / 10_000 if row.activity_ms else None,
        **{name: getattr(row, name) for name in same},
    )


def begun(connection: Connection, node_id: int, slot: int, partition: str, holder_id: int, since: int) -> int:
    """When an interval that goes on, of which `since` (µs) is known, began: over midnights as long as it is folded."""
    mine: Conditions = [
        usage.c.node_id == node_id,
        usage.c.slot == slot,
        usage.c.holder_id == holder_id,
        usage.c.partition == partition,
    ]
    newest = select(func.max(usage.c.begin)).where(*mine, usage.c.begin > since - DAY, usage.c.end >= since - DAY)
    begin: int | None = connection.execute(newest).scalar()
    if begin is None:
        return since
    while begin % DAY == 0 and (earlier := _before_midnight(connection, mine, begin)) < begin:
        begin = earlier
    return min(begin, since)


def _before_midnight(connection: Connection, mine: Conditions, midnight: int) -> int:
    """When what goes on at a midnight began, as far as it was cut in the month before; that midnight if it did then."""
    month = (usage.c.begin >= midnight - _MONTH, usage.c.begin < midnight)
    query = select(usage.c.begin, usage.c.end).where(*mine, *month).order_by(usage.c.begin.desc())
    begin = midnight
    for row in connection.execute(query):
        if row.end != begin or begin % DAY:
            break
        begin = row.begin
    return begin
