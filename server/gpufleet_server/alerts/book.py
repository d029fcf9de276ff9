"""The open alerts in the store: read, and changed by compare-and-set, so that several servers may evaluate."""

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, and_, bindparam, delete, func, insert, or_, select, update

from gpufleet_server.alerts.finding import Finding
from gpufleet_server.domain.alerting import AlertState, Life
from gpufleet_server.store.alerts import alert_log, alerts
from gpufleet_server.store.bulk import insert_into
from gpufleet_server.store.schema import nodes

# A statement is given so many rows or ids at most.
_AT_ONCE = 500
_LONGEST = 1024
Key = tuple[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class Open:
    """An alert that is pending or fires, as its row says."""

    alert_id: int
    rule: str
    subject: str
    scope: str
    severity: str
    life: Life
    node_id: int | None
    gpu_id: int | None
    site: str | None
    rack: str | None
    labels: Mapping[str, str]
    value: float | None
    text: str
    held_by: str | None
    told_at: int | None
    version: int


@dataclasses.dataclass(frozen=True, slots=True)
class Next:
    """What is to become of a subject: from its open alert, if there is one, to a life, if one is left.

    `finding` is there where the condition holds.
    """

    rule: str
    scope: str
    before: Open | None
    life: Life | None
    finding: Finding | None
    why: str = ""


_COLUMNS = [alerts.c[name] for name in (
    "alert_id", "rule", "subject", "scope", "severity", "state", "since", "last_true", "fired_at", "resolved_at",
    "node_id", "gpu_id", "site", "rack", "labels", "value", "text", "held_by", "told_at", "version",
)]  # fmt: skip


def open_alerts(connection: Connection, only: Collection[int] | None = None) -> dict[Key, Open]:
    """All alerts that are pending or fire; with `only` those of these nodes, and those of no node."""
    query = select(*_COLUMNS).where(alerts.c.state != AlertState.RESOLVED.value)
    if only is not None:
        query = query.where(or_(alerts.c.node_id.in_(only), alerts.c.node_id.is_(None)))
    return {(row.rule, row.subject): _open(row) for row in connection.execute(query)}


def fired_since(connection: Connection, rules: Collection[str], since: int) -> dict[str, int]:
    """How many alerts of each of these rules fire since a time or later."""
    query = select(alerts.c.rule, func.count()).where(
        alerts.c.rule.in_(rules), alerts.c.fired_at >= since, alerts.c.state == AlertState.FIRING.value
    )
    return {rule: count for rule, count in connection.execute(query.group_by(alerts.c.rule))}  # noqa: C416


def write(connection: Connection, changes: Iterable[Next], now: int, *, texts: bool = True) -> int:
    """Make these changes, each only where its alert is as it was read; how many alerts began, fired or ended.

    With `texts` those that go on tell what was measured now.
    """
    made = 0
    begun: list[Next] = []
    still: list[Next] = []
    for each in changes:
        if each.before is None:
            begun.append(each)
        elif each.life is None:
            made += _removed(connection, each.before)
        elif each.life.state is not each.before.life.state:
            made += _moved(connection, each, each.before, each.life, now)
        elif each.life != each.before.life:
            still.append(each)
    made += _begun(connection, begun, now)
    _refresh(connection, still)
    if texts:
        _retell(connection, still)
    return made


def log(connection: Connection, alert_ids: Iterable[int], change: str, now: int, by: str = "", text: str = "") -> None:
    """Add to the history of alerts."""
    rows = [{"alert_id": each, "at": now, "change": change, "by": by, "text": text[:_LONGEST]} for each in alert_ids]
    if rows:
        connection.execute(insert(alert_log), rows)


def hold(connection: Connection, alert: Open, held_by: str | None, now: int) -> bool:
    """Hold an alert that fires back, or let it go; False where another server was quicker."""
    values = {"held_by": held_by, "version": alert.version + 1}
    if held_by is None:
        values |= {"told_at": alert.told_at or now}
    if not _set(connection, alert, values):
        return False
    if held_by is not None:
        log(connection, [alert.alert_id], "held", now, held_by)
    elif alert.held_by is not None:
        log(connection, [alert.alert_id], "released", now, alert.held_by)
    return True


def _open(row: Row[Any]) -> Open:
    life = Life(AlertState(row.state), row.since, row.last_true, row.fired_at, row.resolved_at)
    same = {each.name: getattr(row, each.name) for each in dataclasses.fields(Open) if each.name != "life"}
    return Open(life=life, **same)


def _set(connection: Connection, alert: Open, values: Mapping[str, Any]) -> bool:
    same = and_(alerts.c.alert_id == alert.alert_id, alerts.c.version == alert.version)
    return connection.execute(update(alerts).where(same).values(values)).rowcount == 1


def _removed(connection: Connection, alert: Open) -> int:
    same = and_(alerts.c.alert_id == alert.alert_id, alerts.c.version == alert.version)
    return connection.execute(delete(alerts).where(same)).rowcount


def _moved(connection: Connection, change: Next, before: Open, life: Life, now: int) -> int:
    values = _life(life) | {"version": before.version + 1}
    if change.finding is not None:
        values |= {"value": change.finding.value, "text": change.finding.text}
    if not _set(connection, before, values):
        return 0
    log(connection, [before.alert_id], _word(life), now, text=change.why or str(values.get("text", "")))
    return 1


def _word(life: Life) -> str:
    return "fired" if life.state is AlertState.FIRING else "resolved"


def _life(life: Life) -> dict[str, Any]:
    return {
        "state": life.state.value,
        "since": life.since,
        "last_true": life.last_true,
        "fired_at": life.fired_at,
        "resolved_at": life.resolved_at,
    }


def _begun(connection: Connection, begun: Sequence[Next], now: int) -> int:
    made = 0
    # In one order for all servers: two that wait for each other's rows would wait for ever.
    ordered = sorted(begun, key=lambda each: (each.rule, each.finding.subject if each.finding else ""))
    for begin in range(0, len(ordered), _AT_ONCE):
        made += _insert(connection, ordered[begin : begin + _AT_ONCE], now)
    return made


def _insert(connection: Connection, begun: Sequence[Next], now: int) -> int:
    ended, own = _ended_later(connection, begun), _labels_of_nodes(connection, begun)
    rows = [row for each in begun if (row := _row(each, own)) is not None and (each.rule, row["subject"]) not in ended]
    if not rows:
        return 0
    made = (
        insert_into(connection, alerts)
        .on_conflict_do_nothing()
        .returning(alerts.c.alert_id, alerts.c.state, alerts.c.text)
    )
    done = connection.execute(made, rows).all()
    fired = [
        {"alert_id": row.alert_id, "at": now, "change": "fired", "by": "", "text": row.text}
        for row in done
        if row.state == AlertState.FIRING.value
    ]
    if fired:
        connection.execute(insert(alert_log), fired)
    return len(done)


def _ended_later(connection: Connection, begun: Sequence[Next]) -> set[Key]:
    """Those whose last alert ended after these were evaluated: another server knew more."""
    oldest = min(each.life.since for each in begun if each.life is not None)
    query = select(alerts.c.rule, alerts.c.subject).where(
        alerts.c.rule.in_({each.rule for each in begun}),
        alerts.c.subject.in_([each.finding.subject for each in begun if each.finding is not None]),
        alerts.c.resolved_at > oldest,
    )
    return {(row.rule, row.subject) for row in connection.execute(query)}


def _labels_of_nodes(connection: Connection, begun: Sequence[Next]) -> dict[int, dict[str, str]]:
    """What owners call their nodes in the agents' settings: `team = "ml"` there is the label `label_team` here."""
    ids = {each.finding.node_id for each in begun if each.finding is not None and each.finding.node_id is not None}
    query = select(nodes.c.node_id, nodes.c.facts["labels"]).where(nodes.c.node_id.in_(ids))
    return {
        node_id: {"label_" + re.sub(r"[^a-zA-Z0-9_]", "_", name): value for name, value in (given or {}).items()}
        for node_id, given in (connection.execute(query) if ids else ())
    }


def _row(change: Next, own: Mapping[int, Mapping[str, str]]) -> dict[str, Any] | None:
    finding, life = change.finding, change.life
    if finding is None or life is None:
        return None
    same = {name: getattr(finding, name) for name in ("subject", "node_id", "gpu_id", "site", "rack", "value", "text")}
    about = {"rule": change.rule, "scope": change.scope, "severity": finding.manner.severity.value, "version": 1}
    of_node = own.get(finding.node_id, {}) if finding.node_id is not None else {}
    return same | about | _life(life) | {"labels": {**of_node, **finding.labels}}


def _refresh(connection: Connection, still: Sequence[Next]) -> None:
    """When they were last known to hold, and since when. No change of their state."""
    by_time: dict[tuple[int, int], list[int]] = {}
    for each in still:
        if each.before is not None and each.life is not None:
            moved = each.life.since - each.before.life.since
            by_time.setdefault((each.life.last_true, moved), []).append(each.before.alert_id)
    for (last_true, moved), ids in by_time.items():
        for begin in range(0, len(ids), _AT_ONCE):
            which = alerts.c.alert_id.in_(ids[begin : begin + _AT_ONCE])
            values: dict[str, Any] = {"last_true": last_true} | ({"since": alerts.c.since + moved} if moved else {})
            connection.execute(update(alerts).where(which, alerts.c.last_true < last_true).values(values))


def _retell(connection: Connection, still: Sequence[Next]) -> None:
    rows = [
        {"this": each.before.alert_id, "text": each.finding.text, "value": each.finding.value}
        for each in still
        if each.before is not None and each.finding is not None and each.finding.text != each.before.text
    ]
    if rows:
        connection.execute(update(alerts).where(alerts.c.alert_id == bindparam("this")), rows)
