"""Rows of a small fleet, put into a store without the ingest: what queries and the API are asked about."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import events, gpus, nodes, partitions, samples, states
from sqlalchemy import Table, insert, select, update

SECOND = 1_000_000
NOW = 1_790_000_000 * SECOND


@dataclasses.dataclass
class Fleet:
    """Adds rows to a store. Values of metrics are stored integers; times are µs; a missing field has a default."""

    store: Store
    _numbers: Iterator[int] = dataclasses.field(default_factory=lambda: itertools.count(1))

    def node(self, hostname: str, **fields: Any) -> int:
        """A node heard at NOW whose driver is ok; its node_id."""
        number = next(self._numbers)
        row = {
            "uuid": f"00000000-0000-4000-8000-{number:012x}",
            "hostname": hostname,
            "interval_ms": 10_000,
            "driver_state": "ok",
            "driver_since": NOW - 3600 * SECOND,
            "facts": {"hostname": hostname, "agent_version": "0.1.0"},
            "first_seen": NOW - 86_400 * SECOND,
            "last_seen": NOW,
        }
        return self._add(nodes, row | fields)

    def gpu(self, node_id: int, uuid: str, **fields: Any) -> int:
        """A GPU of a node; its gpu_id."""
        row = {"node_id": node_id, "uuid": uuid, "identity": {"uuid": uuid}, "first_seen": NOW - 86_400 * SECOND}
        return self._add(gpus, row | fields)

    def sample(self, gpu_id: int, ts: int = NOW, duration: int = 10_000, **values: int | None) -> None:
        """A sample, the GPU's newest if none is newer."""
        self._add(samples, {"gpu_id": gpu_id, "ts": ts, "duration": duration, **values})
        with self.store.writing() as connection:
            newest = select(samples.c.ts).where(samples.c.gpu_id == gpu_id).order_by(samples.c.ts.desc()).limit(1)
            connection.execute(update(gpus).where(gpus.c.gpu_id == gpu_id).values(last_sample=newest.scalar_subquery()))

    def state(self, gpu_id: int, metric: str, ts: int, value: int | None = None, reason: int | None = None) -> None:
        """A value on change, or an absence and its reason."""
        self._add(states, {"gpu_id": gpu_id, "metric": metric, "ts": ts, "value": value, "reason": reason})

    def event(self, node_id: int, kind: str, ts: int = NOW, **fields: Any) -> int:
        """An event; its id."""
        row = {"node_id": node_id, "kind": kind, "ts": ts, "source": "agent", "detail": {}, "received_at": ts + SECOND}
        return self._add(events, row | fields)

    def partition(self, gpu_id: int, uuid: str, **fields: Any) -> None:
        """A partition of a GPU."""
        row = {"gpu_id": gpu_id, "uuid": uuid, "facts": {"uuid": uuid} | fields, "first_seen": NOW}
        self._add(partitions, row)

    def _add(self, table: Table, row: dict[str, Any]) -> int:
        with self.store.writing() as connection:
            key = connection.execute(insert(table).values(row)).inserted_primary_key
        assert key is not None
        return int(key[0])
