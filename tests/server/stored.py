"""Samples as they lie in a store's blocks, recent and sealed: for tests that ask what is there."""

from collections.abc import Iterator
from dataclasses import dataclass

from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, Reason
from gpufleet_server.store.blocks import Block, from_planes, from_recent
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import gpus, nodes, partitions
from gpufleet_server.store.tiers import SEALED, USES, Tier, recent
from sqlalchemy import Connection, select

NAMES = tuple(metric.name for metric in EVERY_SAMPLE)
_MISSING = {metric.name: metric.absent(Reason.NOT_OBSERVED) for metric in EVERY_SAMPLE}


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample of one GPU: `ts` in µs, `duration` in ms, `stored` as on the wire (absences included).

    A point of a rollup reads the same: it ends at `ts`, `duration` of it was observed, and `stored` has the ms in USES.
    """

    node: str
    gpu: str
    ts: int
    duration: int
    stored: dict[str, int]

    @property
    def values(self) -> dict[str, int | None]:
        """Metric → stored integer, None where absent."""
        return {name: None if BY_NAME[name].reason(each) is not None else each for name, each in self.stored.items()}

    @property
    def reasons(self) -> dict[str, Reason]:
        """Metric → why it is absent, for those that are."""
        found = {name: BY_NAME[name].reason(each) for name, each in self.stored.items()}
        return {name: reason for name, reason in found.items() if reason is not None}


def every(store: Store) -> list[Sample]:
    """Every sample that lies in the store, by node, GPU and time; one that lies there twice comes twice."""
    with store.reading() as connection:
        names = _names(connection)
        found = [sample for node_id, block in _blocks(connection) for sample in _of(names, node_id, block)]
    return sorted(found, key=lambda sample: (sample.node, sample.gpu, sample.ts))


def points(store: Store, tier: Tier) -> list[Sample]:
    """Every point of a tier of rollups, by node, GPU and time."""
    with store.reading() as connection:
        names = _names(connection)
        rows = list(connection.execute(select(tier.table)).mappings())
        blocks = [(row["node_id"], from_planes(row, tier, (*NAMES, *USES))) for row in rows]
        found = [point for node_id, block in blocks for point in _of(names, node_id, block)]
    return sorted(found, key=lambda point: (point.node, point.gpu, point.ts))


def samples(store: Store, node: str | None = None) -> dict[tuple[str, int], dict[str, int | None]]:
    """(GPU's UUID, ts) → metric → stored integer or None, of all nodes or one. AssertionError where one lies twice."""
    found = [sample for sample in every(store) if node in (None, sample.node)]
    by_key = {(sample.gpu, sample.ts): sample.values for sample in found}
    assert len(by_key) == len(found), "a sample lies in the store twice"
    return by_key


def column(store: Store, metric: str) -> list[int | None]:
    """One metric of every sample, by node, GPU and time."""
    return [sample.values[metric] for sample in every(store)]


def count(store: Store) -> int:
    """How many samples lie in the store, doubled ones counted twice."""
    with store.reading() as connection:
        return sum(int((block.durations > 0).sum()) for _, block in _blocks(connection))


def _blocks(connection: Connection) -> Iterator[tuple[int, Block]]:
    for row in connection.execute(select(recent)).mappings():
        yield row["node_id"], from_recent(row, NAMES)
    for row in connection.execute(select(SEALED.table)).mappings():
        yield row["node_id"], from_planes(row, SEALED, NAMES)


def _names(connection: Connection) -> dict[tuple[int, int], tuple[str, str]]:
    """(node_id, slot) → the UUIDs of node, and of GPU or partition."""
    found: dict[tuple[int, int], tuple[str, str]] = {}
    for table in (gpus, partitions):
        columns = (table.c.node_id, table.c.slot, nodes.c.uuid, table.c.uuid)
        query = select(*columns).join_from(table, nodes, nodes.c.node_id == table.c.node_id)
        found |= {(node_id, slot): (node, uuid) for node_id, slot, node, uuid in connection.execute(query)}
    return found


def _of(names: dict[tuple[int, int], tuple[str, str]], node_id: int, block: Block) -> Iterator[Sample]:
    for t, ts in enumerate(block.times.tolist()):
        for g, slot in enumerate(block.slots.tolist()):
            if duration := int(block.durations[t, g]):
                stored = _MISSING | {name: int(values[t, g]) for name, values in block.columns.items()}
                yield Sample(*names[node_id, slot], ts, duration, stored)
