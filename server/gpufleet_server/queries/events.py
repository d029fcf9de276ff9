"""Events, newest first, or in the order in which they came for who follows them."""

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import Connection, Row, func, or_, select

from gpufleet_server.queries import filters, paging
from gpufleet_server.queries.filters import FleetFilter
from gpufleet_server.queries.paging import Key, Order, Page
from gpufleet_server.store.schema import events, gpus, nodes

EventOrder = Literal["newest", "oldest", "arrival"]

_ORDERS = {
    "newest": Order("newest", [Key(events.c.ts, int, True), Key(events.c.event_id, int, True)]),
    "oldest": Order("oldest", [Key(events.c.ts, int), Key(events.c.event_id, int)]),
    "arrival": Order("arrival", [Key(events.c.event_id, int)]),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class EventFilter:
    """Which events. `gpu` is a UUID or serial; since <= time < until, µs; `after` is the id of an event."""

    site: Sequence[str] = ()
    node: Sequence[str] = ()
    gpu: Sequence[str] = ()
    kind: Sequence[str] = ()
    code: Sequence[int] = ()
    since: int | None = None
    until: int | None = None
    after: int | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened once. Times in µs; `at` the agent's, corrected; `received_at` the server's."""

    event_id: int
    at: int
    received_at: int
    kind: str
    code: int | None
    gpu: str | None
    index: int | None
    node_id: str
    hostname: str
    site: str | None
    partition: str | None
    source: str
    message: str
    detail: dict[str, Any]
    simulated: bool


def listing(
    connection: Connection, wanted: EventFilter, *, limit: int, order: EventOrder = "newest", cursor: str | None = None
) -> Page[Event]:
    """Events in an order; `arrival` is that of their ids."""
    columns = [nodes.c.uuid.label("node_uuid"), nodes.c.hostname, nodes.c.site, nodes.c.simulated]
    query = (
        select(events, gpus.c.uuid.label("gpu_uuid"), gpus.c.position, *columns)
        .join_from(events, nodes, events.c.node_id == nodes.c.node_id)
        .outerjoin(gpus, events.c.gpu_id == gpus.c.gpu_id)
        .where(*_conditions(wanted))
    )
    rows, following = paging.cut(
        connection.execute(paging.page(query, _ORDERS[order], limit, cursor)).all(), _ORDERS[order], limit
    )
    return Page([_event(row) for row in rows], following)


def last_id(connection: Connection) -> int:
    """The highest id of an event so far, 0 before the first: what to follow from."""
    return connection.execute(select(func.max(events.c.event_id))).scalar_one() or 0


def by_kind(connection: Connection, wanted: FleetFilter, since: int) -> dict[str, int]:
    """How many events of each kind there were from `since` (µs) on, in a part of the fleet."""
    # Not the bare column: for the sake of its order SQLite would walk through all events ever, not those of the time.
    kind = events.c.kind.concat("").label("kind")
    query = (
        select(kind, func.count())
        .join_from(events, nodes, events.c.node_id == nodes.c.node_id)
        .where(events.c.ts >= since, *filters.of_fleet(FleetFilter(site=wanted.site)))
        .group_by(kind)
        .order_by(kind)
    )
    if wanted.model:
        query = query.join(gpus, events.c.gpu_id == gpus.c.gpu_id).where(gpus.c.model.in_(wanted.model))
    return {kind: count for kind, count in connection.execute(query)}  # noqa: C416


def _conditions(wanted: EventFilter) -> filters.Conditions:
    conditions = filters.of_fleet(FleetFilter(site=wanted.site)) + filters.named(wanted.node)
    if wanted.gpu:
        # First which GPUs these are, then their events by index: not all events ever, each with its GPU.
        named = or_(gpus.c.uuid.in_(wanted.gpu), gpus.c.serial.in_(wanted.gpu))
        conditions.append(events.c.gpu_id.in_(select(gpus.c.gpu_id).where(named).correlate(None)))
    if wanted.kind:
        conditions.append(events.c.kind.in_(wanted.kind))
    if wanted.code:
        conditions.append(events.c.code.in_(wanted.code))
    if wanted.since is not None:
        conditions.append(events.c.ts >= wanted.since)
    if wanted.until is not None:
        conditions.append(events.c.ts < wanted.until)
    if wanted.after is not None:
        conditions.append(events.c.event_id > wanted.after)
    return conditions


def _event(row: Row[Any]) -> Event:
    return Event(
        event_id=row.event_id,
        at=row.ts,
        received_at=row.received_at,
        kind=row.kind,
        code=row.code,
        gpu=row.gpu_uuid,
        index=row.position,
        node_id=row.node_uuid,
        hostname=row.hostname,
        site=row.site,
        partition=row.partition,
        source=row.source,
        message=row.message,
        detail=row.detail,
        simulated=row.simulated,
    )
