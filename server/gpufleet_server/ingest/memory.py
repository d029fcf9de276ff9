"""What the writer remembers of nodes and their GPUs, so that a report costs no selects; compact, for large fleets."""

import dataclasses
from collections.abc import Iterable

import numpy as np
from gpufleet_agent.catalogue import ON_CHANGE
from numpy.typing import NDArray

from gpufleet_server.domain.clock import Correction
from gpufleet_server.ingest.columns import NAMES, PRESENT

# Beyond this it is forgotten and read again as it is needed.
MOST_NODES, MOST_GPUS, MOST_OWNERS = 50_000, 400_000, 100_000
STATES = {metric.name: number for number, metric in enumerate(ON_CHANGE)}
# The label of nodes that says which Slurm cluster they are of: job numbers are a cluster's own.
SLURM_CLUSTER = "slurm_cluster"
# Site, model, simulated: with a use, what the fleet is counted by.
Kind = tuple[str, str, bool]


class GpuTable:
    """A row for each GPU that is remembered.

    `reasons` (row × metric of every sample): why it is absent, or PRESENT; `since`: ts of its newest row in `states`.
    `told`, `told_at` (row × metric sent on change): its newest stored integer and since when; 0 µs: never told.
    `kind`: the number of its Kind. `gpu_id`: as in the store.
    """

    def __init__(self) -> None:
        self._free: list[int] = []
        self._used = 0
        self.reasons = np.zeros((0, len(NAMES)), np.int8)
        self.since = np.zeros((0, len(NAMES)), np.int64)
        self.told = np.zeros((0, len(STATES)), np.int64)
        self.told_at = np.zeros((0, len(STATES)), np.int64)
        self.kind = np.zeros(0, np.int32)
        self.gpu_id = np.zeros(0, np.int64)

    def __len__(self) -> int:
        return self._used - len(self._free)

    def add(self, gpu_id: int) -> int:
        """A row for a GPU of which no more is known yet."""
        if self._free:
            row = self._free.pop()
        else:
            row, self._used = self._used, self._used + 1
            self._make_room()
        self.reasons[row], self.since[row] = PRESENT, 0
        self.told[row], self.told_at[row], self.gpu_id[row] = 0, 0, gpu_id
        return row

    def remove(self, row: int) -> None:
        """Leave a row to another GPU."""
        self._free.append(row)

    def _make_room(self) -> None:
        if self._used > len(self.kind):
            more = max(64, len(self.kind))
            for name in ("reasons", "since", "told", "told_at", "kind", "gpu_id"):
                old = getattr(self, name)
                setattr(self, name, np.concatenate((old, np.zeros((more, *old.shape[1:]), old.dtype))))


@dataclasses.dataclass(slots=True)
class Gpu:
    """Where to find a GPU: in the store, in its node's blocks, and in the GpuTable."""

    gpu_id: int
    slot: int
    row: int
    model: str


@dataclasses.dataclass(slots=True)
class Layout:
    """The GPUs of a block: their names, packed slots, rows of the GpuTable; `whole`: all of the node's, in order."""

    gpus: list[str]
    slots: bytes
    rows: NDArray[np.int64]
    whole: bool


@dataclasses.dataclass(slots=True)
class Newest:
    """A row of `latest`: the ts (µs, 0: never) and ms of each slot's newest sample, and what is packed of it."""

    ts: list[int]
    durations: list[int]
    columns: tuple[bytes | None, ...]


@dataclasses.dataclass(slots=True)
class Holders:
    """What a node's newest report named as holders, `encoded` as a whole, and their `ids`.

    `by_encoded`: all that it named since `at` (µs).
    """

    encoded: bytes = b""
    ids: list[int] = dataclasses.field(default_factory=list)
    at: int = 0
    by_encoded: dict[bytes, int] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(slots=True)
class Node:
    """A node as its row says, how its clock is corrected, its streams' last numbers, and its GPUs by UUID.

    `slurm_cluster` is its label of that name. `usage_at`: when the report was made that tells who uses its GPUs now
    (µs); `in_use`: whether anybody does.
    """

    uuid: str
    node_id: int
    version: int
    correction: Correction
    measured: int
    roster_digest: str
    site: str
    simulated: bool
    streams: dict[str, int] = dataclasses.field(default_factory=dict)
    gpus: dict[str, Gpu] = dataclasses.field(default_factory=dict)
    newest: Newest | None = None
    layout: Layout | None = None
    # UUID → slot, and how the block before of them was laid out.
    partitions: dict[str, int] = dataclasses.field(default_factory=dict)
    partition_layout: Layout | None = None
    slurm_cluster: str = ""
    holders: Holders = dataclasses.field(default_factory=Holders)
    usage_at: int = 0
    in_use: bool = False

    @property
    def cluster(self) -> str:
        """The Slurm cluster that its jobs are numbered by, as far as that is known."""
        return self.slurm_cluster or self.site or self.uuid

    @property
    def clock_offset(self) -> int:
        """The offset that is applied, µs."""
        return self.correction.applied

    def laid_out(self, gpus: list[str]) -> Layout:
        """The layout of a block of these GPUs, all of them known."""
        if self.layout is None or self.layout.gpus != gpus:
            found = [self.gpus[uuid] for uuid in gpus]
            slots = [gpu.slot for gpu in found]
            rows = np.array([gpu.row for gpu in found], np.int64)
            whole = slots == list(range(len(self.gpus)))
            self.layout = Layout(gpus, np.array(slots, "<i2").tobytes(), rows, whole)
        return self.layout

    def partitions_laid_out(self, uuids: list[str]) -> Layout:
        """The layout of a block of these partitions, all of them known: they are in no GpuTable."""
        if self.partition_layout is None or self.partition_layout.gpus != uuids:
            slots = np.array([self.partitions[uuid] for uuid in uuids], "<i2").tobytes()
            self.partition_layout = Layout(uuids, slots, np.zeros(0, np.int64), False)
        return self.partition_layout

    @property
    def next_slot(self) -> int:
        """The first slot behind all that are taken."""
        slots = (*(gpu.slot for gpu in self.gpus.values()), *self.partitions.values())
        return max(slots, default=-1) + 1

    def lacks(self, gpus: list[str]) -> bool:
        """Whether one of these GPUs has no row yet."""
        if self.layout is not None and self.layout.gpus == gpus:
            return False
        return any(uuid not in self.gpus for uuid in gpus)


class Memory:
    """Nodes by UUID. A node whose transaction was rolled back must be forgotten."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.gpus = GpuTable()
        self.kinds: dict[Kind, int] = {}
        # Ids in `fleet_groups`: (number of the Kind, Use) → group_id.
        self.groups: dict[tuple[int, int], int] = {}
        # Ids in `owners`, by the columns of OWNER.
        self.owners: dict[tuple[str, ...], int] = {}

    def rolled_back(self, nodes: Iterable[str]) -> None:
        """Forget these nodes, and what was found with them: a transaction was not committed."""
        self.groups.clear()
        self.owners.clear()
        for uuid in nodes:
            self.forget(uuid)

    def add_gpu(self, node: Node, uuid: str, gpu_id: int, slot: int, model: str) -> Gpu:
        """Remember a GPU."""
        gpu = node.gpus[uuid] = Gpu(gpu_id, slot, self.gpus.add(gpu_id), model)
        # Whether a layout is whole depends on how many GPUs there are.
        node.layout = None
        self.classify(node, gpu)
        return gpu

    def classify(self, node: Node, gpu: Gpu) -> None:
        """Count a GPU to the Kind that its model and its node's site make."""
        kind = (node.site, gpu.model, node.simulated)
        self.gpus.kind[gpu.row] = self.kinds.setdefault(kind, len(self.kinds))

    def forget(self, uuid: str) -> None:
        """Read this node again next time."""
        node = self.nodes.pop(uuid, None)
        for gpu in node.gpus.values() if node is not None else ():
            self.gpus.remove(gpu.row)

    def make_room(self) -> None:
        """Forget what has become too much: owners, or everything."""
        if len(self.owners) > MOST_OWNERS:
            self.owners.clear()
        if len(self.nodes) > MOST_NODES or len(self.gpus) > MOST_GPUS:
            self.__init__()  # type: ignore[misc]
