"""The alerts that others are to be told of."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from sqlalchemy import and_, func, insert, or_, select

from gpufleet_server.alerts.delivery.alert import Alert
from gpufleet_server.domain import clock
from gpufleet_server.domain.alerting import AlertState
from gpufleet_server.store.alerts import alert_log, alerts
from gpufleet_server.store.engine import Store

_LONGEST_TEXT = 1024


class Source(Protocol):
    """Where alerts come from; from any thread."""

    def marker(self) -> int:
        """A number that is another once an alert has changed."""

    def current(self, resolved_since: int) -> Sequence[Alert]:
        """What fires and is neither held back nor silenced, and what did so and ended since a time (µs)."""

    def rejected(self, alert: Alert, receiver: str, reason: str) -> None:
        """Note in an alert's history that a receiver does not take it."""


class StoreSource:
    """The alerts of a store. `advice` is what to do, by the name of the rule."""

    def __init__(self, store: Store, advice: Callable[[str], str], now: Callable[[], int] = clock.now) -> None:
        self._store, self._advice, self._now = store, advice, now

    def marker(self) -> int:
        """The newest change."""
        with self._store.reading() as connection:
            found: int | None = connection.execute(select(func.max(alert_log.c.log_id))).scalar_one()
        return found or 0

    def current(self, resolved_since: int) -> Sequence[Alert]:
        """What fires, and what ended."""
        table = alerts.c
        fires = and_(table.state == AlertState.FIRING.value, table.held_by.is_(None), table.told_at.is_not(None))
        over = and_(table.state == AlertState.RESOLVED.value, table.resolved_at >= resolved_since)
        ended = and_(over, table.told_at.is_not(None))
        columns = (table.alert_id, table.rule, table.severity, table.labels, table.text, table.value)
        asked = select(*columns, table.fired_at, table.resolved_at, table.told_at).where(or_(fires, ended))
        with self._store.reading() as connection:
            return [self._alert(row) for row in connection.execute(asked.order_by(table.alert_id))]

    def rejected(self, alert: Alert, receiver: str, reason: str) -> None:
        """Add it to the history."""
        row = {"alert_id": alert.id, "at": self._now(), "change": "refused", "by": receiver}
        with self._store.writing() as connection:
            connection.execute(insert(alert_log).values(row | {"text": reason[:_LONGEST_TEXT]}))

    def _alert(self, row: Any) -> Alert:
        labels = {"alertname": row.rule, "severity": row.severity} | row.labels
        return Alert(
            id=row.alert_id,
            rule=row.rule,
            severity=row.severity,
            labels={name: str(value) for name, value in labels.items() if value not in (None, "")},
            text=row.text,
            advice=self._advice(row.rule),
            fired_at=row.fired_at,
            resolved_at=row.resolved_at,
            value=row.value,
            told_at=row.told_at,
        )
