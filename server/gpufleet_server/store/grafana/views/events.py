"""The view `events`."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import FromClause, Integer, Text, column, values

from gpufleet_server.domain.xids import catalogue
from gpufleet_server.store.grafana import fields
from gpufleet_server.store.grafana.view import Column, Field, view
from gpufleet_server.store.schema import events, gpus, nodes


def _xids() -> FromClause:
    """NVIDIA's catalogue as a table: code, name, class, severity."""
    rows: list[tuple[Any, ...]] = [
        (each.code, each.meaning or each.mnemonic, each.action.value, each.severity.value)
        for each in catalogue().xids.values()
    ]
    texts = (column(name, Text) for name in ("name", "class", "severity"))
    return values(column("code", Integer), *texts, name="xid", literal_binds=True).data(rows)


_XIDS = _xids()


def _fields() -> Iterator[Field]:
    yield Column("event_id", "bigint", "Its number."), events.c.event_id
    yield from fields.at(events.c.ts, "When it happened")
    yield fields.time("received_at", "When a server was told.", events.c.received_at)
    yield fields.text("kind", "What happened: `xid`, `gpu_lost`, `node_changed`, …", events.c.kind)
    yield Column("code", "integer", "The number of an XID or SXID."), events.c.code
    yield fields.text("xid_name", "Of an XID: what it is.", _XIDS.c.name)
    yield fields.text("xid_class", "Of an XID: the class of what to do, such as `reset_gpu`.", _XIDS.c["class"])
    yield fields.text("xid_severity", "Of an XID: `critical`, `warning` or `info`.", _XIDS.c.severity)
    yield fields.text("source", "Who told: `nvml`, `kernel log`, `agent`, …", events.c.source)
    yield fields.text("message", "What was said.", events.c.message)
    yield from fields.of_node()
    yield from fields.of_place("rack")
    yield fields.simulated()
    yield Column("gpu_id", "bigint", "Its GPU's number in this store; NULL where it is of the node."), events.c.gpu_id
    yield fields.text("gpu", "That GPU's UUID.", gpus.c.uuid)
    yield Column("position", "integer", "That GPU's index."), gpus.c.position
    yield fields.model()
    yield fields.text("serial", "That GPU's serial number.", gpus.c.serial)
    yield fields.text("partition", "The UUID of its partition, where it is of one.", events.c.partition)


_OF_XID = (_XIDS.c.code == events.c.code) & (events.c.kind == "xid")
VIEW = view(
    "events",
    "Something that happened once: an XID, a GPU that was lost, a roster that changed …",
    _fields(),
    events.join(nodes, nodes.c.node_id == events.c.node_id)
    .outerjoin(gpus, gpus.c.gpu_id == events.c.gpu_id)
    .outerjoin(_XIDS, _OF_XID),
)
