"""Rosters into the rows of nodes, GPUs and partitions, and what differs from those before as events."""

import collections
import dataclasses
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec
from gpufleet_agent import wire
from sqlalchemy import Connection, bindparam, insert, select, update

from gpufleet_server.ingest.memory import SLURM_CLUSTER, Holders, Memory, Node
from gpufleet_server.store.schema import gpus, nodes, partitions

# What a node's administrator sets: None is a value there too, not something that could not be read.
_SET_BY_HAND = ("site", "room", "rack")
# `state` is told by the agent as gpu_lost and gpu_returned.
_NOT_COMPARED = ("uuid", "state", "partitions", "absent", "labels")
# A node's first roster is one event, however many GPUs it has.
_COME_WITH_NODE = ("gpu_added", "partition_added")
_OF_DRIVER = ("driver_version", "nvml_version", "cuda_version")
# Fields of the wire that are columns too.
_HOST_COLUMNS = ("hostname", "site", "room", "rack", "simulated", "agent_version")
_SOFTWARE = ("driver_version", "cuda_version", "kernel", "os")
_GPU_COLUMNS = (
    *("vendor", "model", "serial", "pci_address", "memory_total"),
    *("vbios_version", "inforom_image_version", "gsp_firmware_version", "board_part_number"),
)
_HOST_FIELDS = tuple(name for name in wire.Host.__struct_fields__ if name not in _NOT_COMPARED)
_GPU_FIELDS = tuple(name for name in wire.Gpu.__struct_fields__ if name not in _NOT_COMPARED)

_UPDATE_NODES = update(nodes).where(nodes.c.node_id == bindparam("this"))
_UPDATE_GPUS = update(gpus).where(gpus.c.gpu_id == bindparam("this"))
_UPDATE_PARTITIONS = update(partitions).where(
    partitions.c.node_id == bindparam("of"), partitions.c.uuid == bindparam("this")
)


@dataclasses.dataclass(frozen=True, slots=True)
class Difference:
    """One thing that a roster changed. `detail` holds field, old and new for the kinds that end in _changed."""

    kind: str
    message: str
    gpu: str | None = None
    partition: str | None = None
    detail: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, slots=True)
class Told:
    """A roster that came, of a node that is remembered, and from when on (µs) it holds.

    `read`: the driver was read for it. If not it says nothing of the driver, and lists the GPUs of before or none.
    """

    node: Node
    roster: wire.Roster
    at: int
    read: bool = True


@dataclasses.dataclass(slots=True)
class _Writes:
    """Rows to be changed, each statement once for all of them."""

    nodes: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    gpus: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    new_partitions: list[dict[str, Any]] = dataclasses.field(default_factory=list)
    partitions: list[dict[str, Any]] = dataclasses.field(default_factory=list)

    def execute(self, connection: Connection) -> None:
        """Write them."""
        for statement, rows in (
            (_UPDATE_NODES, self.nodes),
            (_UPDATE_GPUS, self.gpus),
            (insert(partitions), self.new_partitions),
            (_UPDATE_PARTITIONS, self.partitions),
        ):
            # Rows of one statement must have the same columns.
            for _, same in itertools.groupby(rows, key=list):
                connection.execute(statement, list(same))


def update_rosters(connection: Connection, memory: Memory, told: Sequence[Told]) -> list[list[Difference]]:
    """Write rosters of different nodes: the nodes, their GPUs and their partitions. What each of them changed."""
    ids = [each.node.node_id for each in told]
    query = select(nodes.c.node_id, nodes.c.facts).where(nodes.c.node_id.in_(ids))
    facts: dict[int, Any] = dict(connection.execute(query).all())
    rows, parts = _known_gpus(connection, ids), _known_partitions(connection, ids)
    _add_listed(connection, memory, told)
    writes = _Writes()
    differences = [
        _update(writes, each, facts[node_id], rows.get(node_id, {}), parts.get(node_id, {}))
        for each, node_id in zip(told, ids, strict=True)
    ]
    writes.execute(connection)
    for each in told:
        _remember(memory, each)
    return differences


def add_gpus(connection: Connection, memory: Memory, new: Sequence[tuple[Node, dict[str, Any]]]) -> None:
    """Give GPUs that their nodes lack a row and the node's next slot. The rows say `uuid`, `identity`, `first_seen` …

    All rows name the same columns.
    """
    if not new:
        return
    free = {node.uuid: node.next_slot for node, _ in new}
    rows = []
    for node, row in new:
        rows.append(row | {"node_id": node.node_id, "slot": free[node.uuid]})
        free[node.uuid] += 1
    ids = connection.execute(insert(gpus).returning(gpus.c.gpu_id, sort_by_parameter_order=True), rows).scalars().all()
    for (node, _), row, gpu_id in zip(new, rows, ids, strict=True):
        memory.add_gpu(node, row["uuid"], gpu_id, row["slot"], row.get("model") or "")


def _known_gpus(connection: Connection, ids: list[int]) -> dict[int, dict[str, Any]]:
    columns = (gpus.c.node_id, gpus.c.gpu_id, gpus.c.uuid, gpus.c.identity, gpus.c.removed_at)
    found: dict[int, dict[str, Any]] = {}
    for row in connection.execute(select(*columns).where(gpus.c.node_id.in_(ids)).order_by(gpus.c.slot)):
        found.setdefault(row.node_id, {})[row.uuid] = row
    return found


def _known_partitions(connection: Connection, ids: list[int]) -> dict[int, dict[str, Any]]:
    found: dict[int, dict[str, Any]] = {}
    for row in connection.execute(select(partitions).where(partitions.c.node_id.in_(ids))):
        found.setdefault(row.node_id, {})[row.uuid] = row
    return found


def _add_listed(connection: Connection, memory: Memory, told: Sequence[Told]) -> None:
    new = []
    for each in told:
        listed = {gpu.uuid: gpu for gpu in each.roster.gpus if gpu.uuid not in each.node.gpus}
        new += [(each.node, _columns(gpu, {}) | {"uuid": gpu.uuid, "first_seen": each.at}) for gpu in listed.values()]
    add_gpus(connection, memory, new)


def _remember(memory: Memory, told: Told) -> None:
    node, host = told.node, told.roster.host
    cluster = node.cluster
    node.site, node.simulated = host.site or "", host.simulated
    node.slurm_cluster = host.labels.get(SLURM_CLUSTER, "")
    if node.cluster != cluster:
        # Its jobs' numbers are another cluster's from now on.
        node.holders = Holders()
    for gpu in told.roster.gpus:
        # A lost GPU can't tell its model; what is known of it stays known.
        node.gpus[gpu.uuid].model = gpu.model or (node.gpus[gpu.uuid].model if gpu.state == "lost" else "")
    for known in node.gpus.values():
        memory.classify(node, known)


def _update(
    writes: _Writes, told: Told, known: dict[str, Any], rows: dict[str, Any], parts: dict[str, Any]
) -> list[Difference]:
    changes = list(_host(writes, told, known))
    for uuid, gpu in {gpu.uuid: gpu for gpu in told.roster.gpus}.items():
        changes += _gpu(writes, rows.pop(uuid, None), gpu)
        changes += _partitions(writes, parts, told, gpu)
    for row in rows.values():
        if row.removed_at is None and (told.read or told.roster.gpus):
            writes.gpus.append({"this": row.gpu_id, "removed_at": told.at})
            changes.append(_about(row.identity, row.uuid, "gpu_removed", "removed"))
    if known:
        return changes
    return [_node_added(told.roster), *(each for each in changes if each.kind not in _COME_WITH_NODE)]


def _node_added(roster: wire.Roster) -> Difference:
    models = collections.Counter(gpu.model or "unknown" for gpu in roster.gpus)
    text = ", ".join(f"{count} × {model}" for model, count in models.items()) or "no GPUs"
    return Difference("node_added", text, detail={"gpus": len(roster.gpus), "models": dict(models)})


def _host(writes: _Writes, told: Told, old: dict[str, Any]) -> Iterator[Difference]:
    node, host, new = told.node, told.roster.host, msgspec.to_builtins(told.roster.host)
    if not told.read:
        # An update of the driver with a restart of the agent in between is a change all the same.
        new = {name: old[name] for name in _OF_DRIVER if name in old} | new
    columns = {name: getattr(host, name) for name in _HOST_COLUMNS} | {name: new.get(name) for name in _SOFTWARE}
    writes.nodes.append({"this": node.node_id, "facts": new} | columns)
    if old:
        fields = [*_fields(old, new, _HOST_FIELDS, _SET_BY_HAND), *_labels(old, new)]
        yield from (Difference("node_changed", _arrow(detail), detail=detail) for detail in fields)


def _columns(gpu: wire.Gpu, old: dict[str, Any]) -> dict[str, Any]:
    """The columns of a GPU's row that its roster decides; `old` is the identity it had."""
    new = msgspec.to_builtins(gpu)
    # A GPU that is lost can't be asked: what is known of it stays known.
    identity = old | new if gpu.state == "lost" else new
    # `position` is the driver's index.
    values = {name: identity.get(name) for name in _GPU_COLUMNS} | {"position": gpu.index, "lost": gpu.state == "lost"}
    return values | {"identity": identity, "removed_at": None}


def _gpu(writes: _Writes, row: Any, gpu: wire.Gpu) -> Iterator[Difference]:
    """Changes of a GPU whose row was this; None: it was made just now."""
    old = row.identity if row is not None else {}
    columns = _columns(gpu, old)
    if row is not None:
        writes.gpus.append({"this": row.gpu_id} | columns)
    identity = columns["identity"]
    if not old or row.removed_at is not None:
        yield _about(identity, gpu.uuid, "gpu_added", "back" if old else "new")
    for detail in _fields(old, identity, _GPU_FIELDS):
        yield Difference("gpu_changed", _arrow(detail), gpu.uuid, detail=detail)


def _partitions(writes: _Writes, known: dict[str, Any], told: Told, gpu: wire.Gpu) -> Iterator[Difference]:
    """Changes of a GPU's partitions, of all that its node has had; a new one gets the node's next slot."""
    node, gpu_id = told.node, told.node.gpus[gpu.uuid].gpu_id
    listed = {each.uuid: each for each in gpu.partitions}
    for uuid, partition in listed.items():
        row, facts = known.get(uuid), msgspec.to_builtins(partition)
        values = {"gpu_id": gpu_id, "profile": partition.profile, "facts": facts, "removed_at": None}
        if uuid in node.partitions:
            writes.partitions.append({"of": node.node_id, "this": uuid} | values)
        else:
            slot = node.partitions[uuid] = node.next_slot
            new = {"node_id": node.node_id, "uuid": uuid, "slot": slot, "first_seen": told.at}
            writes.new_partitions.append(new | values)
        if row is None or row.gpu_id != gpu_id or row.removed_at is not None:
            yield Difference("partition_added", partition.profile or "", gpu.uuid, uuid)
    # What a lost GPU is cut into can't be read; that is not the same as being whole.
    rows = [row for row in known.values() if row.gpu_id == gpu_id and row.uuid not in listed]
    for row in rows if gpu.state != "lost" else []:
        if row.removed_at is None:
            writes.partitions.append({"of": node.node_id, "this": row.uuid, "removed_at": told.at})
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
