"""A node's roster into its rows, and what differs from the one before as events."""

import collections
import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
from gpufleet_agent import wire
from sqlalchemy import Connection, insert, select, update

from gpufleet_server.ingest.memory import Node, add_gpus
from gpufleet_server.store.schema import gpus, nodes, partitions

# What a node's administrator sets: None is a value there too, not something that could not be read.
_SET_BY_HAND = ("site", "room", "rack")
# `state` is told by the agent as gpu_lost and gpu_returned.
_NOT_COMPARED = ("uuid", "state", "partitions", "absent", "labels")
# A node's first roster is one event, however many GPUs it has.
_COME_WITH_NODE = ("gpu_added", "partition_added")
_HOST_FIELDS = tuple(name for name in wire.Host.__struct_fields__ if name not in _NOT_COMPARED)
_GPU_FIELDS = tuple(name for name in wire.Gpu.__struct_fields__ if name not in _NOT_COMPARED)


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One thing that a roster changed. `detail` holds field, old and new for the kinds that end in _changed."""

    kind: str
    message: str
    gpu: str | None = None
    partition: str | None = None
    detail: dict[str, Any] = dataclasses.field(default_factory=dict)


def update_roster(connection: Connection, node: Node, roster: wire.Roster, at: int) -> list[Difference]:
    """Write a roster that holds from `at` (µs): the node, its GPUs and their partitions. What it changed."""
    known = connection.execute(select(nodes.c.facts).where(nodes.c.node_id == node.node_id)).scalar_one()
    changes = list(_host(connection, node, known, roster.host))
    add_gpus(connection, node, (gpu.uuid for gpu in roster.gpus), at)
    rows = {row.uuid: row for row in connection.execute(select(gpus).where(gpus.c.node_id == node.node_id))}
    for gpu in roster.gpus:
        changes += _gpu(connection, rows.pop(gpu.uuid), gpu)
        changes += _partitions(connection, node.gpus[gpu.uuid].gpu_id, gpu, at)
    for row in rows.values():
        if row.removed_at is None:
            _set(connection, row.gpu_id, {"removed_at": at})
            changes.append(_about(row.identity, row.uuid, "gpu_removed", "removed"))
    return changes if known else [_node_added(roster), *(each for each in changes if each.kind not in _COME_WITH_NODE)]


def _node_added(roster: wire.Roster) -> Difference:
    models = collections.Counter(gpu.model or "unknown" for gpu in roster.gpus)
    text = ", ".join(f"{count} × {model}" for model, count in models.items()) or "no GPUs"
    return Difference("node_added", text, detail={"gpus": len(roster.gpus), "models": dict(models)})


def _host(connection: Connection, node: Node, old: dict[str, Any], host: wire.Host) -> Iterator[Difference]:
    new = msgspec.to_builtins(host)
    columns = ("hostname", "site", "room", "rack", "simulated", "agent_version")
    values = {name: getattr(host, name) for name in columns} | {"facts": new}
    connection.execute(update(nodes).where(nodes.c.node_id == node.node_id).values(values))
    if old:
        fields = [*_fields(old, new, _HOST_FIELDS, _SET_BY_HAND), *_labels(old, new)]
        yield from (Difference("node_changed", _arrow(detail), detail=detail) for detail in fields)


def _gpu(connection: Connection, row: Any, gpu: wire.Gpu) -> Iterator[Difference]:
    new = msgspec.to_builtins(gpu)
    old = row.identity
    # A GPU that is lost can't be asked: what is known of it stays known.
    identity = old | new if gpu.state == "lost" else new
    # A field of the wire that is a column too; `position` is the driver's index.
    columns = ("vendor", "model", "serial", "pci_address", "memory_total")
    values = {name: identity.get(name) for name in columns} | {"position": gpu.index, "lost": gpu.state == "lost"}
    _set(connection, row.gpu_id, values | {"identity": identity, "removed_at": None})
    if not old or row.removed_at is not None:
        yield _about(identity, gpu.uuid, "gpu_added", "back" if old else "new")
    for detail in _fields(old, identity, _GPU_FIELDS):
        yield Difference("gpu_changed", _arrow(detail), gpu.uuid, detail=detail)


def _partitions(connection: Connection, gpu_id: int, gpu: wire.Gpu, at: int) -> Iterator[Difference]:
    rows = {row.uuid: row for row in connection.execute(select(partitions).where(partitions.c.gpu_id == gpu_id))}
    for partition in gpu.partitions:
        row = rows.pop(partition.uuid, None)
        values = {"profile": partition.profile, "facts": msgspec.to_builtins(partition), "removed_at": None}
        key = {"gpu_id": gpu_id, "uuid": partition.uuid}
        if row is None:
            connection.execute(insert(partitions).values(key | values | {"first_seen": at}))
        else:
            _set_partition(connection, key, values)
        if row is None or row.removed_at is not None:
            yield Difference("partition_added", partition.profile or "", gpu.uuid, partition.uuid)
    # What a lost GPU is cut into can't be read; that is not the same as being whole.
    gone = [row for row in rows.values() if row.removed_at is None and gpu.state != "lost"]
    for row in gone:
        _set_partition(connection, {"gpu_id": gpu_id, "uuid": row.uuid}, {"removed_at": at})
        yield Difference("partition_removed", row.profile or "", gpu.uuid, row.uuid)


def _fields(
    old: dict[str, Any], new: dict[str, Any], names: Iterable[str], none_counts: Iterable[str] = ()
) -> Iterator[dict[str, Any]]:
    for name in names:
        before, after = old.get(name), new.get(name)
        readable = (before is not None and after is not None) or name in none_counts
        if before != after and readable:
            yield {"field": name, "old": before, "new": after}


def _labels(old: dict[str, Any], new: dict[str, Any]) -> Iterator[dict[str, Any]]:
    before, after = old.get("labels", {}), new.get("labels", {})
    names = sorted(before.keys() | after.keys())
    for detail in _fields(before, after, names, names):
        yield detail | {"field": f"labels.{detail['field']}"}


def _about(identity: dict[str, Any], uuid: str, kind: str, how: str) -> Difference:
    names = ("index", "model", "serial", "pci_address")
    detail = {name: identity[name] for name in names if name in identity}
    text = f"{identity.get('model', 'GPU')} {uuid}, serial {identity.get('serial', 'unknown')}: {how}"
    return Difference(kind, text, uuid, detail=detail)


def _arrow(detail: dict[str, Any]) -> str:
    return f"{detail['field']}: {detail['old']} → {detail['new']}"


def _set(connection: Connection, gpu_id: int, values: dict[str, Any]) -> None:
    connection.execute(update(gpus).where(gpus.c.gpu_id == gpu_id).values(values))


def _set_partition(connection: Connection, key: dict[str, Any], values: dict[str, Any]) -> None:
    this = (partitions.c.gpu_id == key["gpu_id"]) & (partitions.c.uuid == key["uuid"])
    connection.execute(update(partitions).where(this).values(values))
