"""What the writer remembers of the nodes that report, so that a report costs no selects for it."""

import dataclasses
from collections.abc import Iterable

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE
from numpy.typing import NDArray
from sqlalchemy import Connection, func, insert, select

from gpufleet_server.domain.clock import Correction
from gpufleet_server.ingest.columns import METRICS, PRESENT
from gpufleet_server.store.schema import gpus, nodes, states

# Beyond this everything is forgotten and read again as it is needed.
_MOST_NODES = 20_000


def _all_present() -> NDArray[np.int8]:
    return np.full(len(EVERY_SAMPLE), PRESENT, np.int8)


def _never() -> NDArray[np.int64]:
    return np.zeros(len(EVERY_SAMPLE), np.int64)


@dataclasses.dataclass(slots=True)
class Gpu:
    """The current state of one GPU.

    `reasons` (M): the Reason for which each metric of every sample is absent, or PRESENT; `since` (M, µs): its newest
    row in `states`. `current`: metric sent on change → (ts, stored integer) of its newest row.
    """

    gpu_id: int
    reasons: NDArray[np.int8] = dataclasses.field(default_factory=_all_present)
    since: NDArray[np.int64] = dataclasses.field(default_factory=_never)
    current: dict[str, tuple[int, int]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class Node:
    """A node as its row says, how its clock is corrected, and its GPUs by UUID."""

    node_id: int
    correction: Correction
    roster_digest: str
    gpus: dict[str, Gpu]

    @property
    def clock_offset(self) -> int:
        """The offset that is applied, µs."""
        return self.correction.applied


class Memory:
    """Nodes by UUID. A node whose report failed must be forgotten: its transaction was rolled back."""

    def __init__(self) -> None:
        self._nodes: dict[str, Node] = {}

    def get(self, connection: Connection, uuid: str) -> Node | None:
        """The node, read from the store where it is not remembered; None where there is none yet."""
        node = self._nodes.get(uuid)
        if node is None and (node := _load(connection, uuid)) is not None:
            self.put(uuid, node)
        return node

    def put(self, uuid: str, node: Node) -> None:
        """Remember a node."""
        if len(self._nodes) >= _MOST_NODES:
            self._nodes.clear()
        self._nodes[uuid] = node

    def forget(self, uuid: str) -> None:
        """Read this node again next time."""
        self._nodes.pop(uuid, None)

    def forget_all(self) -> None:
        """Read every node again."""
        self._nodes.clear()


def add_gpus(connection: Connection, node: Node, uuids: Iterable[str], at: int) -> list[str]:
    """Give each UUID that the node lacks a row that says no more than that; those that were added."""
    new = [uuid for uuid in dict.fromkeys(uuids) if uuid not in node.gpus]
    for uuid in new:
        row = {"node_id": node.node_id, "uuid": uuid, "identity": {}, "first_seen": at}
        gpu_id = connection.execute(insert(gpus).values(row).returning(gpus.c.gpu_id)).scalar_one()
        node.gpus[uuid] = Gpu(gpu_id)
    return new


def _load(connection: Connection, uuid: str) -> Node | None:
    columns = (nodes.c.node_id, nodes.c.clock_offset, nodes.c.roster_digest)
    row = connection.execute(select(*columns).where(nodes.c.uuid == uuid)).one_or_none()
    if row is None:
        return None
    found = connection.execute(select(gpus.c.uuid, gpus.c.gpu_id).where(gpus.c.node_id == row.node_id))
    node = Node(
        row.node_id, Correction(row.clock_offset), row.roster_digest, {gpu.uuid: Gpu(gpu.gpu_id) for gpu in found}
    )
    _load_states(connection, node)
    return node


def _load_states(connection: Connection, node: Node) -> None:
    by_id = {gpu.gpu_id: gpu for gpu in node.gpus.values()}
    # Joined, not listed: the number of a statement's parameters is bounded.
    key = (states.c.gpu_id, states.c.metric)
    newest = (
        select(*key, func.max(states.c.ts).label("ts"))
        .join(gpus, gpus.c.gpu_id == states.c.gpu_id)
        .where(gpus.c.node_id == node.node_id)
        .group_by(*key)
        .subquery()
    )
    same = (newest.c.gpu_id == states.c.gpu_id) & (newest.c.metric == states.c.metric) & (newest.c.ts == states.c.ts)
    for gpu_id, name, ts, value, reason in connection.execute(select(states).join(newest, same)):
        _remember(by_id[gpu_id], name, ts, value, reason)


def _remember(gpu: Gpu, name: str, ts: int, value: int | None, reason: int | None) -> None:
    number = METRICS.get(name)
    if number is not None:
        gpu.reasons[number] = PRESENT if reason is None else reason
        gpu.since[number] = ts
    elif name in BY_NAME:
        stored = value if value is not None else BY_NAME[name].lowest + (reason or 0)
        gpu.current[name] = (ts, stored)
