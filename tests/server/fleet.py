"""Rows of a small fleet, put into a store without the ingest: what queries and the API are asked about."""

import dataclasses
import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, Reason
from gpufleet_server.domain import clock, use
from gpufleet_server.domain.state import gpu_state, node_state
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import events, gpus, nodes, partitions, states
from gpufleet_server.store.tiers import latest, recent
from sqlalchemy import Table, func, insert, select, update

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
        with self.store.reading() as connection:
            slot = connection.execute(select(func.count()).where(gpus.c.node_id == node_id)).scalar_one()
        row = {"node_id": node_id, "slot": slot, "uuid": uuid, "identity": {"uuid": uuid}}
        return self._add(gpus, row | {"first_seen": NOW - 86_400 * SECOND} | fields)

    def sample(self, gpu_id: int, ts: int = NOW, duration: int = 10_000, **values: int | None) -> None:
        """A sample, the GPU's newest if none is newer. A metric that is not named was not observed."""
        with self.store.writing() as connection:
            of_gpu = select(gpus.c.node_id, gpus.c.slot).where(gpus.c.gpu_id == gpu_id)
            node_id, slot = connection.execute(of_gpu).one()
            row = {
                "node_id": node_id, "first": ts, "last": ts, "slots": np.int16(slot).tobytes(),
                "times": np.int64(ts).tobytes(), "durations": np.int32(duration).tobytes(),
            }  # fmt: skip
            connection.execute(insert(recent).values(row | _packed(values)))
            old = connection.execute(select(latest).where(latest.c.node_id == node_id)).mappings().one_or_none()
            row = _newer(dict(old) if old is not None else {}, slot, ts, duration, values)
            if old is None:
                connection.execute(insert(latest).values(row | {"node_id": node_id}))
            else:
                connection.execute(update(latest).where(latest.c.node_id == node_id).values(row))

    def state(self, gpu_id: int, metric: str, ts: int, value: int | None = None, reason: int | None = None) -> None:
        """A value on change, or an absence and its reason."""
        self._add(states, {"gpu_id": gpu_id, "metric": metric, "ts": ts, "value": value, "reason": reason})

    def event(self, node_id: int, kind: str, ts: int = NOW, **fields: Any) -> int:
        """An event; its id."""
        row = {"node_id": node_id, "kind": kind, "ts": ts, "source": "agent", "detail": {}, "received_at": ts + SECOND}
        return self._add(events, row | fields)

    def partition(self, gpu_id: int, uuid: str, slot: int = 100, **fields: Any) -> None:
        """A partition of a GPU, in a slot of its node."""
        with self.store.reading() as connection:
            node_id = connection.execute(select(gpus.c.node_id).where(gpus.c.gpu_id == gpu_id)).scalar_one()
        row = {"node_id": node_id, "gpu_id": gpu_id, "uuid": uuid, "slot": slot, "first_seen": NOW}
        self._add(partitions, row | {"facts": {"uuid": uuid} | fields})

    def _add(self, table: Table, row: dict[str, Any]) -> int:
        with self.store.writing() as connection:
            key = connection.execute(insert(table).values(row)).inserted_primary_key
        assert key is not None
        return int(key[0])


def _packed(values: dict[str, int | None]) -> dict[str, bytes]:
    return {
        name: _stored(name, value).to_bytes(BY_NAME[name].width, "little", signed=True)
        for name, value in values.items()
    }


def _stored(name: str, value: int | None) -> int:
    return value if value is not None else BY_NAME[name].absent(Reason.NOT_OBSERVED)


def _newer(old: dict[str, Any], slot: int, ts: int, duration: int, values: dict[str, int | None]) -> dict[str, bytes]:
    """A row of `latest` with this sample in its slot, if that is newer than what is there."""
    times = _room(old.get("ts"), "<i8", slot, 0)
    if times[slot] > ts:
        return {"ts": times.tobytes()}
    row = {"ts": times, "durations": _room(old.get("durations"), "<i4", slot, 0)}
    row["ts"][slot], row["durations"][slot] = ts, duration
    for metric in EVERY_SAMPLE:
        absent = metric.absent(Reason.NOT_OBSERVED)
        row[metric.name] = _room(old.get(metric.name), f"<i{metric.width}", slot, absent)
        row[metric.name][slot] = _stored(metric.name, values.get(metric.name))
    row["use"] = use.use({name: row[name].astype(np.int64) for name in use.metrics()})
    return {name: column.tobytes() for name, column in row.items()}


def _room(packed: bytes | None, kind: str, slot: int, fill: int) -> Any:
    there = np.frombuffer(packed or b"", kind)
    return np.concatenate((there, np.full(max(0, slot + 1 - len(there)), fill, kind))).astype(kind)


def in_every_state(store: Store) -> dict[str, str]:
    """Nodes and GPUs in each state, by each way into it: the words for them, by hostname and by UUID."""
    fleet, told = Fleet(store), {}
    for driver, silence, lost in itertools.product(("ok", "paused", "failed"), (0, 3600), (False, True)):
        host = f"{driver}-{silence}-{lost}"
        node = fleet.node(host, driver_state=driver, last_seen=clock.now() - silence * SECOND)
        state = node_state(driver, 10_000, silence * SECOND)
        told[host] = state.value
        for removed in (False, True):
            uuid = f"GPU-{host}-{removed}"
            fleet.gpu(node, uuid, lost=lost, removed_at=NOW if removed else None)
            told[uuid] = gpu_state(state, lost=lost, removed=removed).value
    return told
