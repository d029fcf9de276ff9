"""The view `nodes`."""

from collections.abc import Iterator

from gpufleet_agent.catalogue import Unit
from sqlalchemy import Double, cast, func, select

from gpufleet_server.store.condition import node_state
from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import SECOND, Column, Field, view
from gpufleet_server.store.schema import gpus, nodes

_GPUS = (
    select(func.count())
    .select_from(gpus)
    .where(gpus.c.node_id == nodes.c.node_id, gpus.c.removed_at.is_(None))
    .correlate(nodes)
    .scalar_subquery()
)
_SOFTWARE = {
    "agent_version": ("Version of its agent.", nodes.c.agent_version),
    "driver": ("Version of its driver.", nodes.c.driver_version),
    "cuda": ("Newest CUDA of its driver.", nodes.c.cuda_version),
    "kernel": ("Version of its kernel.", nodes.c.kernel),
    "os": ("Its operating system.", nodes.c.os),
}


def _fields() -> Iterator[Field]:
    yield Column("node_id", "bigint", "Its number in this store."), nodes.c.node_id
    yield from fields.of_node()
    yield from fields.of_place("room", "rack")
    yield fields.simulated()
    for name, (help, value) in _SOFTWARE.items():
        yield fields.text(name, help, fields.named(value))
    words = "`reporting`, `in_maintenance`, `driver_failed` or `not_reporting`."
    yield fields.text("state", words, node_state(fields.NOW))
    yield fields.text("driver_state", "What its driver last was: `ok`, `paused`, `failed`, …", nodes.c.driver_state)
    yield fields.text("driver_detail", "What was said about that.", nodes.c.driver_detail)
    yield fields.time("driver_since", "Since when.", nodes.c.driver_since)
    yield fields.time("first_seen", "When it first reported.", nodes.c.first_seen)
    yield fields.time("last_seen", "When it last reported.", nodes.c.last_seen)
    yield (
        Column("interval_seconds", "double precision", "How far its samples are apart.", SECOND),
        fields.seconds(nodes.c.interval_ms),
    )
    offset = cast(nodes.c.clock_measured, Double) / fields.number(1_000_000)
    yield (
        Column("clock_offset_seconds", "double precision", "By how much its clock is behind the server's.", SECOND),
        offset,
    )
    yield Column("backlog_reports", "bigint", "Reports that wait on it.", Unit.COUNT), nodes.c.backlog_reports
    yield Column("backlog_bytes", "bigint", "How large these are.", Unit.BYTE), nodes.c.backlog_bytes
    yield Column("backlog_dropped", "bigint", "Reports that it gave up.", Unit.COUNT), nodes.c.backlog_dropped
    yield Column("gpus", "bigint", "GPUs that it has now.", Unit.COUNT), _GPUS


VIEW = view("nodes", "A node, as it is now.", _fields(), nodes)
