"""The view `events`."""

import json
from collections.abc import Callable, Iterator
from typing import Any

from sqlalchemy import ColumnElement, Text, case, cast, literal
from sqlalchemy.dialects.postgresql import JSONB

from gpufleet_server.domain.xids import Xid, catalogue
from gpufleet_server.store.grafana import fields, usage_fields
from gpufleet_server.store.grafana.view import Column, Field, view
from gpufleet_server.store.schema import IS_FAULT, IS_GRAVE, events, gpus, nodes

# That an event is a fault, and no news of a roster; and that a fault is none of XIDs that are mere ends of programs:
# both as their indices have it.
FAULT, GRAVE = IS_FAULT, IS_GRAVE


def _of_xid(told: Callable[[Xid], str]) -> ColumnElement[Any]:
    """What is told of each XID of NVIDIA's catalogue, for an event's code. Not a table: that would be joined always."""
    known = json.dumps({str(each.code): told(each) for each in catalogue().xids.values()})
    found = cast(literal(known), JSONB)[cast(events.c.code, Text)].astext
    return case((events.c.kind == "xid", found))


def _fields() -> Iterator[Field]:
    yield Column("event_id", "bigint", "Its number."), events.c.event_id
    yield from fields.at(events.c.ts, "When it happened")
    yield fields.time("received_at", "When a server was told.", events.c.received_at)
    yield fields.text("kind", "What happened: `xid`, `gpu_lost`, `node_changed`, …", events.c.kind)
    yield Column("code", "integer", "The number of an XID or SXID."), events.c.code
    yield fields.text("xid_name", "Of an XID: what it is.", _of_xid(lambda xid: xid.meaning or xid.mnemonic))
    yield fields.text(
        "xid_class", "Of an XID: the class of what to do, such as `reset_gpu`.", _of_xid(lambda xid: xid.action.value)
    )
    yield fields.text(
        "xid_severity", "Of an XID: `critical`, `warning` or `info`.", _of_xid(lambda xid: xid.severity.value)
    )
    yield fields.text("source", "Who told: `nvml`, `kernel log`, `agent`, …", events.c.source)
    yield fields.text("message", "What was said.", events.c.message)
    yield Column("node_id", "bigint", "Its node's number in this store."), events.c.node_id
    yield from fields.of_node()
    yield from fields.of_place("rack")
    yield fields.simulated()
    yield Column("gpu_id", "bigint", "Its GPU's number in this store; NULL where it is of the node."), events.c.gpu_id
    yield fields.text("gpu", "That GPU's UUID.", gpus.c.uuid)
    yield Column("position", "integer", "That GPU's index."), gpus.c.position
    yield fields.model()
    yield fields.text("serial", "That GPU's serial number.", gpus.c.serial)
    yield usage_fields.place_id(events)
    yield fields.text("partition", "The UUID of its partition, where it is of one.", events.c.partition)


VIEW = view(
    "events",
    "Something that happened once: an XID, a GPU that was lost, a roster that changed …",
    _fields(),
    # Every event has its node: this says so, and where nobody asks for it, it is not read.
    events.outerjoin(nodes, nodes.c.node_id == events.c.node_id).outerjoin(gpus, gpus.c.gpu_id == events.c.gpu_id),
)
