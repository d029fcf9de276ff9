"""What receivers of alerts were told, or still have to be; what was given up may be tried again."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from fastapi import Query as FromQuery
from pydantic import ConfigDict, Field

from gpufleet_server.api import errors
from gpufleet_server.api.answers import Answer, Instant
from gpufleet_server.api.context import Given, admin
from gpufleet_server.api.parameters import Cursor, Limit, Nothing, Query, Text
from gpufleet_server.domain import clock
from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries.reading import reading, writing
from gpufleet_server.store import deliveries
from gpufleet_server.store.deliveries import Delivery

router = APIRouter()
_TRIED_FOR = 86_400 * clock.SECOND
# Within what JSON's readers, whose numbers are floats, tell from its neighbours.
_Id = Annotated[int, Field(ge=1, lt=1 << 53)]


class DeliveryItem(Answer):
    """One change of an alert for one receiver."""

    id: int
    alert: int
    receiver: str = Field(description="its name in the file of receivers; one of several places has /… behind it")
    change: Literal["firing", "resolved"]
    state: Literal["waiting", "delivered", "dead"]
    alert_told: dict[str, Any] = Field(description="the alert as it was then")
    created_at: Instant
    attempts: int
    next_at: Instant | None = Field(description="when it is tried next; null where it is not")
    give_up_at: Instant = Field(description="until when it is tried")
    finished_at: Instant | None = Field(description="when it was delivered, or given up")
    error: str = Field(description="why the last try failed; empty where it did not")


class Counted(Answer):
    """How many there are for a receiver."""

    receiver: str
    waiting: int
    delivered: int
    dead: int


class DeliveryPage(Answer):
    """Some of the deliveries, newest first, and how many there are of each receiver."""

    items: list[DeliveryItem]
    next: str | None = Field(description="cursor of the next page; null at the end")
    receivers: list[Counted]


class DeliveriesQuery(Query):
    """Which deliveries."""

    state: Literal["waiting", "delivered", "dead"] | None = Field(None, description="only those in this state")
    receiver: Text | None = Field(None, description="only those for this receiver")
    alert: _Id | None = Field(None, description="only of this alert")
    limit: Limit = 100
    cursor: Cursor = None


class Again(Answer):
    """Which to try again."""

    model_config = ConfigDict(extra="forbid")

    ids: list[_Id] | None = Field(None, max_length=1000, description="those of these ids; without it all that are dead")


class TriedAgain(Answer):
    """How many will be tried again: for a day."""

    count: int


@router.get("/deliveries", responses=errors.documented())
def deliveries_listing(context: Given, query: Annotated[DeliveriesQuery, FromQuery()]) -> DeliveryPage:
    """What webhooks and Apprise were told of alerts, newest first. Alertmanagers have no outbox: they are told all."""
    with reading(context.store) as connection:
        found = deliveries.listing(
            connection,
            state=query.state,
            receiver=query.receiver,
            alert_id=query.alert,
            before=_before(query.cursor),
            limit=query.limit + 1,
        )
        counts = deliveries.counts(connection)
    page = found[: query.limit]
    more = str(page[-1].id) if len(found) > query.limit else None
    names = sorted({receiver for receiver, _ in counts})
    listed = [
        Counted(receiver=name, **{state: counts.get((name, state), 0) for state in deliveries.STATES}) for name in names
    ]
    return DeliveryPage(items=[_item(each) for each in page], next=more, receivers=listed)


@router.post("/deliveries/retry", dependencies=[Depends(admin)], responses=errors.documented(400, 403, 408, 413))
def retry_deliveries(context: Given, wanted: Again, query: Annotated[Nothing, FromQuery()]) -> TriedAgain:
    """Try again, for a day, what was given up."""
    now = context.now()
    with writing(context.store) as connection:
        count = deliveries.revive(connection, wanted.ids, now, now + _TRIED_FOR)
    return TriedAgain(count=count)


def _before(cursor: str | None) -> int | None:
    if cursor is None:
        return None
    if not (cursor.isascii() and cursor.isdigit() and int(cursor) < 1 << 63):
        raise Problem(422, "the cursor is none of this listing", "cursor")
    return int(cursor)


def _item(it: Delivery) -> DeliveryItem:
    same = ("id", "receiver", "change", "state", "created_at", "attempts", "give_up_at", "finished_at", "error")
    other = {"alert": it.alert_id, "alert_told": dict(it.message)}
    other["next_at"] = it.next_at if it.state == deliveries.WAITING else None
    return DeliveryItem.model_validate({name: getattr(it, name) for name in same} | other)
