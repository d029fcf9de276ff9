"""The view `alerts`."""

from collections.abc import Iterator

from sqlalchemy import func

from gpufleet_server.store.alerts import alerts
from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import Column, Field, view
from gpufleet_server.store.schema import gpus, nodes

# Also alerts that are of no node, as those of a site are.
TABLES = alerts.outerjoin(nodes, nodes.c.node_id == alerts.c.node_id).outerjoin(gpus, gpus.c.gpu_id == alerts.c.gpu_id)


def subject() -> Iterator[Field]:
    """Which alert it is, and about what."""
    yield Column("alert_id", "bigint", "Its number."), alerts.c.alert_id
    yield fields.text("rule", "The rule that fired.", alerts.c.rule)
    yield fields.text("severity", "`critical`, `warning` or `info`.", alerts.c.severity)
    yield fields.text("state", "What it is now: `firing` or `resolved`.", alerts.c.state)
    site = func.coalesce(alerts.c.site, nodes.c.site)
    yield fields.text("site", f"Its site; `{fields.NONE}` where it has none.", fields.named(site))
    rack = func.coalesce(alerts.c.rack, nodes.c.rack)
    yield fields.text("rack", f"Its rack; `{fields.NONE}` where it has none.", fields.named(rack))
    yield fields.text(
        "node", f"Its node's hostname; `{fields.NONE}` where it is of no node.", fields.named(nodes.c.hostname)
    )
    yield fields.text("node_uuid", "What tells that node from others.", nodes.c.uuid)
    yield fields.text("gpu", "Its GPU's UUID; NULL where it is of none.", gpus.c.uuid)
    yield Column("position", "integer", "That GPU's index."), gpus.c.position
    yield fields.model()


def _fields() -> Iterator[Field]:
    yield from subject()
    yield Column("node_id", "bigint", "Its node's number in this store; NULL where it is of none."), alerts.c.node_id
    yield Column("gpu_id", "bigint", "Its GPU's number in this store; NULL where it is of none."), alerts.c.gpu_id
    yield fields.text("text", "What is wrong.", alerts.c.text)
    yield Column("value", "double precision", "What was measured, where that is a number."), alerts.c.value
    yield fields.time("since", "Since when it held.", alerts.c.since)
    yield fields.time("fired_at", "When it fired.", alerts.c.fired_at)
    yield fields.micros("fired", "The same: filter by this.", alerts.c.fired_at)
    yield fields.time("resolved_at", "When it was resolved; NULL while it fires.", alerts.c.resolved_at)
    yield fields.micros("resolved", "The same: filter by this.", alerts.c.resolved_at)
    yield fields.time("acknowledged_at", "When somebody acknowledged it.", alerts.c.acknowledged_at)
    yield fields.text("acknowledged_by", "Who.", alerts.c.acknowledged_by)
    yield fields.text("held_by", "Why nobody is told: `alert 12`, `silence 3`, …", alerts.c.held_by)


VIEW = view("alerts", "An alert that fired.", _fields(), TABLES, alerts.c.fired_at.is_not(None))
