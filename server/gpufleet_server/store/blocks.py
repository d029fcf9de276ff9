"""Rows of the block tables as arrays, and back: one form for samples as they came, sealed ones and rollups."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, Reason
from numpy.typing import NDArray

from gpufleet_server.domain import planes
from gpufleet_server.store.tiers import USES, Tier

Ints = NDArray[np.int64]


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """Samples of G GPUs of one node at n rising times.

    `slots` (G), `times` (n, µs), `durations` (n × G, ms; 0 where a GPU has no sample), `columns`: metric, or one of
    USES in a rollup → n × G stored integers, the lowest ones standing for absent values. A metric that is not there
    was not observed.
    """

    slots: Ints
    times: Ints
    durations: Ints
    columns: dict[str, Ints]


def from_recent(row: Mapping[Any, Any], metrics: Iterable[str]) -> Block:
    """A row of `recent`, with these metrics."""
    slots = np.frombuffer(row["slots"], "<i2").astype(np.int64)
    times = np.frombuffer(row["times"], "<i8")
    shape = (len(times), len(slots))
    durations = np.repeat(np.frombuffer(row["durations"], "<i4").astype(np.int64)[:, np.newaxis], len(slots), axis=1)
    columns = {
        name: np.frombuffer(row[name], f"<i{BY_NAME[name].width}").astype(np.int64).reshape(shape)
        for name in metrics
        if row[name] is not None
    }
    return Block(slots, times, durations, columns)


def from_planes(row: Mapping[Any, Any], tier: Tier, names: Iterable[str]) -> Block:
    """A row of a table of planes, with these metrics and USES."""
    slots, n = np.frombuffer(row["slots"], "<i2").astype(np.int64), row["points"]
    times = planes.decode(row["times"], n, 1, wide=True)[:, 0]
    durations = planes.decode(row["durations"], n, len(slots), wide=False)
    columns = {
        name: planes.decode(row[name], n, len(slots), wide=_wide(tier, name)) for name in names if row[name] is not None
    }
    return Block(slots, times, durations, columns)


def to_planes(block: Block, tier: Tier) -> dict[str, Any]:
    """The columns of a row of planes but for its key. Metrics that the block lacks, or that no sample has, are NULL."""
    row: dict[str, Any] = {
        "points": len(block.times),
        "slots": block.slots.astype("<i2").tobytes(),
        "times": planes.encode(block.times[:, np.newaxis], wide=True),
        "durations": planes.encode(block.durations, wide=False),
    }
    for column in tier.table.c:
        if column.name in BY_NAME or column.name in USES:
            values = block.columns.get(column.name)
            empty = values is None or not _observed(column.name, values)
            row[column.name] = None if values is None or empty else planes.encode(values, wide=_wide(tier, column.name))
    return row


def merge(blocks: Sequence[Block]) -> Block:
    """One block of all their samples. Where two hold a GPU's sample of one time, the first one's stays."""
    slots, times = (_union(block.slots for block in blocks), _union(block.times for block in blocks))
    shape = (len(times), len(slots))
    durations = np.zeros(shape, np.int64)
    names = dict.fromkeys(name for block in blocks for name in block.columns)
    columns = {name: np.full(shape, _missing(name), np.int64) for name in names}
    for block in reversed(blocks):
        there = block.durations > 0
        at, of = np.nonzero(there)
        cells = np.searchsorted(times, block.times)[at], np.searchsorted(slots, block.slots)[of]
        durations[cells] = block.durations[there]
        for name, target in columns.items():
            values = block.columns.get(name)
            target[cells] = _missing(name) if values is None else values[there]
    return Block(slots, times, durations, columns)


def cut(block: Block, after: int, until: int) -> Block:
    """Its samples that ended in (after, until], µs."""
    first, last = np.searchsorted(block.times, (after, until), side="right")
    part = slice(first, last)
    columns = {name: values[part] for name, values in block.columns.items()}
    return Block(block.slots, block.times[part], block.durations[part], columns)


def _union(arrays: Iterable[Ints]) -> Ints:
    return np.unique(np.concatenate(list(arrays)))


def _missing(name: str) -> int:
    metric = BY_NAME.get(name)
    return metric.absent(Reason.NOT_OBSERVED) if metric is not None else 0


def _observed(name: str, values: Ints) -> bool:
    missing = _missing(name)
    return name in USES or bool(values[0, 0] != missing or (values != missing).any())


def _wide(tier: Tier, name: str) -> bool:
    return name in BY_NAME and tier.wide(BY_NAME[name])
