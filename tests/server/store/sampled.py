"""Reports' blocks put into a store as they come, and what it holds of them, sample by sample and point by point."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, Reason
from gpufleet_server.store.blocks import Block, from_planes, from_recent
from gpufleet_server.store.bulk import insert_rows
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tiers import HOUR, USES, Tier, recent
from sqlalchemy import Table, delete, select

SECOND = 1_000_000
# The beginning of an hour, and of a day: 2026-09-21.
MIDNIGHT = 1_789_948_800 * SECOND
NAMES = ("power", "energy", "gpu_utilization", "gpu_temperature", "clock_event_reasons", "nvlink_tx_bytes")
# (node, time, slot) → duration and a stored integer for each of NAMES
Samples = dict[tuple[int, int, int], tuple[int, ...]]


@dataclasses.dataclass(frozen=True)
class Sent:
    """A report's block: times in µs, durations in ms, each column's stored integers time after time."""

    node_id: int
    slots: Sequence[int]
    times: Sequence[int]
    columns: Mapping[str, Sequence[int]]
    durations: Sequence[int] = ()


def add(store: Store, *blocks: Sent) -> None:
    """Store them, each as a row of `recent`."""
    names = ("node_id", "first", "last", "slots", "times", "durations", *NAMES)
    with store.writing() as connection:
        insert_rows(connection, recent, names, (_row(block) for block in blocks))


def gpu(node_id: int, slot: int, samples: Iterable[tuple[int, int]], duration: int = 10_000) -> list[Sent]:
    """One GPU's power, in tenths of a W, at these times (µs): a report each."""
    return [Sent(node_id, [slot], [ts], {"power": [value]}, [duration]) for ts, value in samples]


def waiting(store: Store) -> Samples:
    """The samples in `recent`."""
    with store.reading() as connection:
        rows = [row._asdict() for row in connection.execute(select(recent))]
    return {key: value for row in rows for key, value in _samples(row["node_id"], from_recent(row, NAMES), NAMES)}


def held(store: Store, tier: Tier, names: Sequence[str] = NAMES) -> Samples:
    """The samples, or points, in a tier."""
    with store.reading() as connection:
        rows = [row._asdict() for row in connection.execute(select(tier.table))]
    return {key: value for row in rows for key, value in _samples(row["node_id"], from_planes(row, tier, names), names)}


def uses(store: Store, tier: Tier) -> Samples:
    """ms active, held and of unknown use, point by point."""
    return held(store, tier, USES)


def emptied(store: Store, *tables: Table) -> None:
    """Remove all rows of these tables."""
    with store.writing() as connection:
        for table in tables:
            connection.execute(delete(table))


def absent(name: str, reason: Reason = Reason.NOT_OBSERVED) -> int:
    """The stored integer for an absent value."""
    return BY_NAME[name].absent(reason)


def hours(number: float) -> int:
    """µs."""
    return int(number * HOUR)


def _samples(
    node_id: int, block: Block, names: Sequence[str]
) -> Iterable[tuple[tuple[int, int, int], tuple[int, ...]]]:
    for n, g in zip(*np.nonzero(block.durations), strict=True):
        values = (int(block.columns[name][n, g]) if name in block.columns else absent(name) for name in names)
        yield (node_id, int(block.times[n]), int(block.slots[g])), (int(block.durations[n, g]), *values)


def _row(block: Sent) -> list[Any]:
    durations = block.durations or [10_000] * len(block.times)
    columns = {name: np.array(values, f"<i{BY_NAME[name].width}").tobytes() for name, values in block.columns.items()}
    return [
        block.node_id,
        block.times[0],
        block.times[-1],
        np.array(block.slots, "<i2").tobytes(),
        np.array(block.times, "<i8").tobytes(),
        np.array(durations, "<i4").tobytes(),
        *(columns.get(name) for name in NAMES),
    ]
