"""Rows of usage, put into a store without the ingest: what queries, the API and commands are asked about."""

import dataclasses
from typing import Any

from gpufleet_agent import wire
from gpufleet_server.domain.clock import Correction
from gpufleet_server.domain.usage import DAY
from gpufleet_server.ingest.holders import Named, ids
from gpufleet_server.ingest.memory import Memory, Node
from gpufleet_server.store import partitions
from gpufleet_server.store.bulk import insert_new
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import nodes
from gpufleet_server.store.tiers import due
from gpufleet_server.store.usage import RECORD, USAGE_DUE, holders, latest_usage, usage
from sqlalchemy import insert, select

MIDNIGHT = 20_000 * DAY
HOUR = DAY // 24


@dataclasses.dataclass
class Used:
    """Adds intervals to a store."""

    store: Store
    _memory: Memory = dataclasses.field(default_factory=Memory)

    def holder(self, node_id: int, kind: Any, **fields: Any) -> int:
        """A holder that is told of by this node; its holder_id."""
        with self.store.writing() as connection:
            row = connection.execute(select(nodes.c.uuid, nodes.c.site).where(nodes.c.node_id == node_id)).one()
            node = Node(row.uuid, node_id, 0, Correction(0), 0, "", row.site or "", False)
            named = Named(node, [wire.Holder(kind=kind, **fields)], MIDNIGHT, MIDNIGHT)
            return ids(connection, self._memory, [named])[0][0]

    def interval(
        self, node_id: int, slot: int, holder_id: int, begin: int, end: int, *, active: int = 0, **fields: Any
    ) -> None:
        """An interval within a day, of these µs; `active` is in %, and held for the rest of it."""
        ms = (end - begin) // 1000
        row = {
            "node_id": node_id, "slot": slot, "holder_id": holder_id, "partition": "", "begin": begin, "end": end,
            "observed": ms, "active": ms * active // 100, "held": ms - ms * active // 100,
            "memory_sum": 1024 * ms, "memory_ms": ms, "memory_most": 2 << 20, "activity_sum": 100 * active * ms,
            "activity_ms": ms, "processes": 1,
        }  # fmt: skip
        day = begin // DAY * DAY
        with self.store.writing() as connection:
            partitions.make_for(connection, usage, begin)
            owner = select(holders.c.owner_id).where(holders.c.holder_id == holder_id)
            row["owner_id"] = connection.execute(owner).scalar_one()
            connection.execute(insert(usage).values(row | fields))
            insert_new(connection, due, [{"kind": USAGE_DUE, "node_id": node_id, "at": day}])

    def now(self, node_id: int, at: int, *held: tuple[int, int], partition: str | None = None) -> None:
        """What is held on a node at `at` (µs): slots and holders; since ten seconds before."""
        number = -1 if partition is None else 0
        records = (
            RECORD.pack(holder_id, at - 10_000_000, at, 3 << 30, 4 << 30, 10_000, 5000, 5000, 2, slot, number, 2500)
            for slot, holder_id in held
        )
        row = {"node_id": node_id, "at": at, "pieces": b"".join(records), "partitions": partition}
        with self.store.writing() as connection:
            connection.execute(insert(latest_usage).values(row))
