"""The outbox: what Apprise and webhooks have to be told, until they were. Its table is made by migration 0005."""

import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    Select,
    String,
    Table,
    UniqueConstraint,
    and_,
    delete,
    exists,
    func,
    select,
    text,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from gpufleet_server.store.schema import Key, metadata

WAITING, DELIVERED, DEAD = "waiting", "delivered", "dead"
STATES = (WAITING, DELIVERED, DEAD)
_LONGEST_ERROR = 1024

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", Key, primary_key=True),
    Column("alert_id", BigInteger, nullable=False),
    Column("receiver", String(64), nullable=False, comment="its name in the file of receivers"),
    Column("change", String(16), nullable=False, comment="firing or resolved"),
    Column("state", String(16), nullable=False, comment="waiting, delivered or dead"),
    Column("message", JSON, nullable=False, comment="the alert as it was then"),
    Column("created_at", BigInteger, nullable=False),
    Column("give_up_at", BigInteger, nullable=False, comment="until when it is tried"),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", BigInteger, nullable=False, comment="not to be tried before; a lease moves it ahead"),
    Column("lease", String(36), comment="of whom that tries it now"),
    Column("finished_at", BigInteger, comment="when it was delivered, or given up"),
    Column("error", String(1024), nullable=False, default="", comment="why the last try failed"),
    # Each receiver is told once of each change, however many servers look.
    UniqueConstraint("alert_id", "receiver", "change"),
    Index("ix_deliveries_waiting", "receiver", "next_at", postgresql_where=text("state = 'waiting'")),
    Index(None, "state", "finished_at"),
)


@dataclass(frozen=True, slots=True)
class Delivery:
    """One change of one alert for one receiver. Times are µs; `message` is the alert as JSON."""

    id: int
    alert_id: int
    receiver: str
    change: str
    state: str
    message: Mapping[str, Any]
    created_at: int
    give_up_at: int
    attempts: int
    next_at: int
    lease: str | None
    finished_at: int | None
    error: str


@dataclass(frozen=True, slots=True)
class New:
    """What is to be put into the outbox."""

    alert_id: int
    change: str
    message: Mapping[str, Any]


def known(connection: Connection, receiver: str, alert_ids: Iterable[int]) -> set[tuple[int, str]]:
    """(alert, change) that a receiver was told, or is being told, of these alerts."""
    found: set[tuple[int, str]] = set()
    columns, ids = deliveries.c, sorted(alert_ids)
    for first in range(0, len(ids), 5000):
        some = columns.alert_id.in_(ids[first : first + 5000])
        rows = connection.execute(select(columns.alert_id, columns.change).where(columns.receiver == receiver, some))
        found |= {(row.alert_id, row.change) for row in rows}
    return found


def newest(connection: Connection, receiver: str) -> int | None:
    """When something was last put into the outbox for a receiver, µs; None where never."""
    made = select(func.max(deliveries.c.created_at)).where(deliveries.c.receiver == receiver)
    found: int | None = connection.execute(made).scalar_one()
    return found


def add(connection: Connection, receiver: str, what: Sequence[New], now: int, give_up_at: int) -> int:
    """Put changes into the outbox, in this order; those that are there already stay as they are. How many are new."""
    if not what:
        return 0
    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(deliveries)
    common = {"receiver": receiver, "state": WAITING, "created_at": now, "next_at": now, "give_up_at": give_up_at}
    common |= {"attempts": 0, "error": ""}
    rows = [common | {"alert_id": each.alert_id, "change": each.change, "message": dict(each.message)} for each in what]
    return connection.execute(insert.on_conflict_do_nothing(), rows).rowcount


def take(connection: Connection, receiver: str, now: int, until: int, most: int) -> list[Delivery]:
    """Take what is due, oldest first, for oneself until a time (µs): after that others may have it.

    What happened to an alert later waits until what happened before was delivered, or given up.
    """
    table, earlier = deliveries.c, deliveries.alias()
    same = and_(earlier.c.alert_id == table.alert_id, earlier.c.receiver == receiver, earlier.c.state == WAITING)
    before = exists().where(same, earlier.c.delivery_id < table.delivery_id)
    due = and_(table.receiver == receiver, table.state == WAITING, table.next_at <= now)
    ids = select(table.delivery_id).where(due, ~before).order_by(table.delivery_id).limit(most)
    lease = str(uuid.uuid4())
    # Who comes second finds `next_at` moved ahead.
    mine = update(deliveries).where(table.delivery_id.in_(ids), due)
    taken = mine.values(lease=lease, next_at=until, attempts=table.attempts + 1).returning(*table)
    return sorted((_delivery(row) for row in connection.execute(taken)), key=lambda each: each.id)


def finish(connection: Connection, taken: Sequence[Delivery], now: int, *, error: str | None = None) -> None:
    """What was taken is delivered; or, with the reason of it, given up."""
    state, said = (DELIVERED, "") if error is None else (DEAD, error[:_LONGEST_ERROR])
    _update(connection, taken, state=state, error=said, finished_at=now, lease=None)


def put_back(connection: Connection, taken: Sequence[Delivery], next_at: int, error: str) -> None:
    """What was taken failed for now, and is to be tried again at a time (µs)."""
    _update(connection, taken, next_at=next_at, error=error[:_LONGEST_ERROR], lease=None)


def next_due(connection: Connection, receiver: str) -> int | None:
    """When the next one is due, µs; None where nothing waits."""
    waiting = (deliveries.c.receiver == receiver) & (deliveries.c.state == WAITING)
    found: int | None = connection.execute(select(func.min(deliveries.c.next_at)).where(waiting)).scalar_one()
    return found


def counts(connection: Connection) -> dict[tuple[str, str], int]:
    """(receiver, state) → how many."""
    columns = (deliveries.c.receiver, deliveries.c.state)
    rows = connection.execute(select(*columns, func.count()).group_by(*columns))
    return {(row[0], row[1]): row[2] for row in rows}


def listing(
    connection: Connection,
    *,
    state: str | None = None,
    receiver: str | None = None,
    alert_id: int | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Delivery]:
    """Those of a state, a receiver, an alert; newest first, `before` the id of one."""
    table = deliveries.c
    given = ((table.state, state), (table.receiver, receiver), (table.alert_id, alert_id))
    asked: Select[Any] = select(*table).where(*(column == value for column, value in given if value is not None))
    if before is not None:
        asked = asked.where(table.delivery_id < before)
    return [_delivery(row) for row in connection.execute(asked.order_by(table.delivery_id.desc()).limit(limit))]


def revive(connection: Connection, ids: Sequence[int] | None, now: int, give_up_at: int) -> int:
    """Try dead ones again, all of them or those of these ids; how many."""
    dead = deliveries.c.state == DEAD
    which = dead if ids is None else dead & deliveries.c.delivery_id.in_(ids)
    values = {"state": WAITING, "next_at": now, "give_up_at": give_up_at, "finished_at": None, "attempts": 0}
    return connection.execute(update(deliveries).where(which).values(values)).rowcount


def expire(connection: Connection, now: int) -> int:
    """Give up what nobody has tried until its time was over, as of a receiver that is no more; how many."""
    over = (deliveries.c.state == WAITING) & (deliveries.c.give_up_at < now) & (deliveries.c.next_at < now)
    values = {"state": DEAD, "finished_at": now, "lease": None, "error": "no server that has this receiver tried it"}
    return connection.execute(update(deliveries).where(over).values(values)).rowcount


def forget(connection: Connection, until: int) -> int:
    """Remove what was delivered before a time (µs); how many. What was given up stays."""
    old = (deliveries.c.state == DELIVERED) & (deliveries.c.finished_at < until)
    return connection.execute(delete(deliveries).where(old)).rowcount


def _update(connection: Connection, taken: Sequence[Delivery], **values: Any) -> None:
    """Change what is still ours: a lease that ran out may be another's."""
    ids, leases = [each.id for each in taken], {each.lease for each in taken}
    ours = deliveries.c.delivery_id.in_(ids) & deliveries.c.lease.in_(leases)
    connection.execute(update(deliveries).where(ours).values(values))


def _delivery(row: Any) -> Delivery:
    return Delivery(*row)
