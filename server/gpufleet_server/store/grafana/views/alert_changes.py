"""The view `alert_changes`."""

from collections.abc import Iterator

from gpufleet_server.store.alerts import alert_log, alerts
from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import Column, Field, view
from gpufleet_server.store.grafana.views.alerts import TABLES, subject


def _fields() -> Iterator[Field]:
    yield Column("log_id", "bigint", "Its number: they are in the order of it."), alert_log.c.log_id
    yield from fields.at(alert_log.c.at, "When")
    yield fields.text("change", "`fired`, `resolved`, `held`, `acknowledged`, …", alert_log.c.change)
    yield fields.text("by", "Who did it; empty where it came about by itself.", alert_log.c.by)
    yield fields.text("text", "What was said.", alert_log.c.text)
    yield from subject()


VIEW = view(
    "alert_changes",
    "A change of an alert: it fired, was held back, acknowledged, resolved …",
    _fields(),
    TABLES.join(alert_log, alert_log.c.alert_id == alerts.c.alert_id),
)
