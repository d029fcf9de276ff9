"""Alerts as people look at them: listed, one with its history, counted, acknowledged."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, String, case, cast, func, or_, select, update

from gpufleet_server.alerts import book
from gpufleet_server.alerts.xid_events import DECLARED
from gpufleet_server.domain.alerting import AlertState
from gpufleet_server.queries import paging
from gpufleet_server.queries.paging import CountedPage, Key, Order
from gpufleet_server.store.alerts import alert_log, alerts
from gpufleet_server.store.events import insert_events
from gpufleet_server.store.schema import gpus, nodes

_NEWEST = Order("newest", [Key(alerts.c.alert_id, int, True)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class AlertFilter:
    """Which alerts; an empty field lets all through. `node`: id or hostname; `gpu`: UUID or serial; times in µs.

    `held`: only those that are held back, or only those that are not; `since`: those that were open then or later.
    """

    state: Sequence[str] = ()
    rule: Sequence[str] = ()
    severity: Sequence[str] = ()
    site: Sequence[str] = ()
    node: Sequence[str] = ()
    gpu: Sequence[str] = ()
    held: bool | None = None
    acknowledged: bool | None = None
    since: int | None = None
    until: int | None = None


@dataclasses.dataclass(frozen=True, slots=True)
class Alert:
    """An alert. Times in µs."""

    alert_id: int
    rule: str
    subject: str
    scope: str
    severity: str
    state: AlertState
    node: str | None
    hostname: str | None
    gpu: str | None
    index: int | None
    site: str | None
    rack: str | None
    labels: Mapping[str, str]
    value: float | None
    text: str
    since: int
    last_true: int
    fired_at: int | None
    resolved_at: int | None
    held_by: str | None
    acknowledged_at: int | None
    acknowledged_by: str | None
    acknowledged_why: str | None


@dataclasses.dataclass(frozen=True, slots=True)
class Entry:
    """A change in the history of an alert: when (µs), what, by whom, and what was said."""

    at: int
    change: str
    by: str
    text: str


_SAME = [field.name for field in dataclasses.fields(Alert) if field.name not in ("node", "hostname", "gpu", "index")]
_COLUMNS = [
    *(alerts.c[name] for name in _SAME),
    nodes.c.uuid.label("node"),
    nodes.c.hostname,
    gpus.c.uuid.label("gpu"),
    gpus.c.position.label("index"),
]
_TABLES = alerts.outerjoin(nodes, alerts.c.node_id == nodes.c.node_id).outerjoin(gpus, alerts.c.gpu_id == gpus.c.gpu_id)


def listing(connection: Connection, wanted: AlertFilter, *, limit: int, cursor: str | None) -> CountedPage[Alert]:
    """Some alerts, the newest first, and how many there are. Problem 422 where the cursor is bad."""
    conditions = _conditions(wanted)
    query = select(*_COLUMNS).select_from(_TABLES).where(*conditions)
    rows, following = paging.cut(connection.execute(paging.page(query, _NEWEST, limit, cursor)).all(), _NEWEST, limit)
    total = connection.execute(select(func.count()).select_from(_TABLES).where(*conditions)).scalar_one()
    return CountedPage([_alert(row) for row in rows], following, total)


def one(connection: Connection, alert_id: int) -> Alert | None:
    """The alert of this number."""
    query = select(*_COLUMNS).select_from(_TABLES).where(alerts.c.alert_id == alert_id)
    row = connection.execute(query).one_or_none()
    return None if row is None else _alert(row)


def history(connection: Connection, alert_id: int) -> list[Entry]:
    """What became of an alert, the oldest first."""
    c = alert_log.c
    query = select(c.at, c.change, c.by, c.text).where(c.alert_id == alert_id).order_by(c.at, c.log_id)
    return [Entry(*row) for row in connection.execute(query)]


def counts(connection: Connection) -> dict[tuple[str, str], int]:
    """How many alerts are open, by severity and by how they stand: pending, firing or held."""
    stands: ColumnElement[str] = case(
        ((alerts.c.state == AlertState.FIRING.value) & alerts.c.held_by.is_not(None), "held"),
        else_=cast(alerts.c.state, String),
    ).label("stands")
    query = select(alerts.c.severity, stands, func.count()).where(alerts.c.state != AlertState.RESOLVED.value)
    rows = connection.execute(query.group_by(alerts.c.severity, stands))
    return {(severity, stands): count for severity, stands, count in rows}


def acknowledge(connection: Connection, alert_id: int, by: str, why: str, now: int) -> bool:
    """Note that somebody has taken an alert on; False where there is none of this number that is open.

    Others are told of it as before: a silence is what ends that.
    """
    mine = alerts.c.alert_id == alert_id, alerts.c.state != AlertState.RESOLVED.value
    values = {"acknowledged_at": now, "acknowledged_by": by, "acknowledged_why": why}
    grown = alerts.c.version + 1
    done = connection.execute(update(alerts).where(*mine).values(version=grown, **values)).rowcount == 1
    if done:
        book.log(connection, [alert_id], "acknowledged", now, by, why)
    return done


def declare_healthy(connection: Connection, alert_id: int, by: str, why: str, now: int) -> int | None:
    """Note as an event that what an open alert tells of is over, for rules over events; the id of its node.

    None where there is no alert of this number that is open, and of a node. Alerts of this kind of the same GPU end
    when they are evaluated next.
    """
    mine = alerts.c.alert_id == alert_id, alerts.c.state != AlertState.RESOLVED.value, alerts.c.node_id.is_not(None)
    found = connection.execute(select(alerts.c.node_id, alerts.c.gpu_id).where(*mine)).one_or_none()
    if found is None:
        return None
    row = {"node_id": found.node_id, "gpu_id": found.gpu_id, "ts": now, "received_at": now, "kind": DECLARED}
    detail = {"by": by, "alert": alert_id}
    insert_events(connection, [row | {"source": "operator", "message": why, "detail": detail}])
    book.log(connection, [alert_id], "declared over", now, by, why)
    return int(found.node_id)


def _conditions(wanted: AlertFilter) -> list[ColumnElement[bool]]:
    c = alerts.c
    several = (
        (c.state, wanted.state), (c.rule, wanted.rule), (c.severity, wanted.severity), (c.site, wanted.site),
    )  # fmt: skip
    conditions: list[ColumnElement[bool]] = [column.in_(values) for column, values in several if values]
    if wanted.node:
        conditions.append(or_(nodes.c.uuid.in_(wanted.node), nodes.c.hostname.in_(wanted.node)))
    if wanted.gpu:
        conditions.append(or_(gpus.c.uuid.in_(wanted.gpu), gpus.c.serial.in_(wanted.gpu)))
    if wanted.held is not None:
        conditions.append(c.held_by.is_not(None) if wanted.held else c.held_by.is_(None))
    if wanted.acknowledged is not None:
        conditions.append(c.acknowledged_at.is_not(None) if wanted.acknowledged else c.acknowledged_at.is_(None))
    if wanted.since is not None:
        conditions.append(or_(c.resolved_at.is_(None), c.resolved_at >= wanted.since))
    if wanted.until is not None:
        conditions.append(c.since < wanted.until)
    return conditions


def _alert(row: Row[Any]) -> Alert:
    found = {field.name: getattr(row, field.name) for field in dataclasses.fields(Alert) if field.name != "index"}
    # A row has a method of the name.
    return Alert(index=row._mapping["index"], **found | {"state": AlertState(row.state)})
