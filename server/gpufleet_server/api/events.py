"""Events."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi import Query as FromQuery
from pydantic import Field

from gpufleet_server.api import errors
from gpufleet_server.api.answers import Answer, Instant, NodeName
from gpufleet_server.api.context import Given
from gpufleet_server.api.parameters import Cursor, Limit, NodesNamed, Query, Sites, Texts, Time
from gpufleet_server.domain import times
from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries import events
from gpufleet_server.queries.events import Event, EventFilter
from gpufleet_server.queries.reading import reading

router = APIRouter()


class EventItem(Answer):
    """Something that happened once."""

    id: int
    at: Instant = Field(description="when it happened")
    received_at: Instant = Field(description="when the server took it")
    kind: str = Field(description="such as xid, gpu_removed or driver_failed")
    code: int | None = Field(description="for kind xid, the XID")
    gpu: str | None = Field(description="UUID")
    index: int | None = Field(description="of that GPU, the driver's")
    node: NodeName
    site: str | None
    partition: str | None
    source: str
    message: str
    detail: dict[str, Any]
    simulated: bool


class EventPage(Answer):
    """Some of the events."""

    items: list[EventItem]
    next: str | None = Field(description="cursor of the next page; null at the end")
    last_id: int = Field(description="highest id in the store: give it as `after` to see what comes later")


class EventsQuery(Query):
    """Which events, and in what order."""

    site: Sites = Field([])
    node: NodesNamed = Field([])
    gpu: Texts = Field([], description="only of this GPU, by UUID or serial; may be repeated")
    kind: Texts = Field([], description="only of this kind; may be repeated", examples=[["xid"]])
    code: list[Annotated[int, Field(ge=0, lt=1 << 31)]] = Field(
        [], max_length=100, description="only XIDs of this code; may be repeated", examples=[[79]]
    )
    since: Time = Field(None, description="at this time or later")
    until: Time = Field(None, description="before this time")
    after: int | None = Field(None, ge=0, lt=1 << 63, description="only those with a higher id, in the order of ids")
    order: Literal["newest", "oldest"] | None = Field(None, description="newest first without it; not with `after`")
    limit: Limit = 100
    cursor: Cursor = None


@router.get("/events", responses=errors.documented())
def events_listing(context: Given, query: Annotated[EventsQuery, FromQuery()]) -> EventPage:
    """Events, newest first. Follow them with `after`: the highest id seen so far."""
    if query.after is not None and query.order is not None:
        raise Problem(422, "events after an id come in the order of their ids: leave out order", "order")
    if query.since is not None and query.until is not None and query.since >= query.until:
        raise Problem(422, f"since {times.iso(query.since)} is not before until {times.iso(query.until)}", "since")
    wanted = EventFilter(**query.model_dump(exclude={"order", "limit", "cursor"}))
    order = "arrival" if query.after is not None else query.order or "newest"
    with reading(context.store) as connection:
        # Before the page: what comes in between is seen twice rather than never.
        last = events.last_id(connection)
        page = events.listing(connection, wanted, limit=query.limit, order=order, cursor=query.cursor)
    return EventPage(items=[_item(event) for event in page.items], next=page.next, last_id=last)


def _item(event: Event) -> EventItem:
    return EventItem(
        id=event.event_id,
        at=event.at,
        received_at=event.received_at,
        kind=event.kind,
        code=event.code,
        gpu=event.gpu,
        index=event.index,
        node=NodeName(id=event.node_id, hostname=event.hostname),
        site=event.site,
        partition=event.partition,
        source=event.source,
        message=event.message,
        detail=event.detail,
        simulated=event.simulated,
    )
