"""Rows of `fleet_minutes`: samples of a commit added to the minutes in which they ended, by group and use."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import EVERY_SAMPLE, Rollup
from numpy.typing import NDArray
from sqlalchemy import Connection

from gpufleet_server.domain.use import Use
from gpufleet_server.ingest.cells import Cells, joined
from gpufleet_server.ingest.memory import Memory
from gpufleet_server.store.fleet_rollups import group_ids
from gpufleet_server.store.tiers import HOUR, MINUTE, begin_of, due, fleet_minutes
from gpufleet_server.store.upsert import Change, Upsert, add, greatest, least, unite

_INT64 = np.iinfo(np.int64)


@dataclasses.dataclass(frozen=True, slots=True)
class _Fold:
    """How extremes and flags of several samples become one, and what changes nothing."""

    reduce: Callable[..., NDArray[np.int64]]
    neutral: int
    change: Change


_FOLDS = {
    Rollup.MAX: _Fold(np.maximum.reduceat, _INT64.min, greatest),
    Rollup.MIN: _Fold(np.minimum.reduceat, _INT64.max, least),
    Rollup.ANY: _Fold(np.bitwise_or.reduceat, 0, unite),
}


def _of(*rollups: Rollup) -> list[int]:
    return [number for number, metric in enumerate(EVERY_SAMPLE) if metric.rollup in rollups]


def _changes() -> dict[str, Change]:
    changes: dict[str, Change] = {"observed": add}
    for metric in EVERY_SAMPLE:
        if metric.rollup in _FOLDS:
            changes[metric.name] = _FOLDS[metric.rollup].change
        else:
            changes |= {metric.name: add, f"{metric.name}_ms": add}
    return changes


_SUMMED = _of(Rollup.MEAN, Rollup.SUM)
_WEIGHTED = np.array([[EVERY_SAMPLE[number].rollup is Rollup.MEAN] for number in _SUMMED])
_FOLDED = {rollup: _of(rollup) for rollup in _FOLDS}
_UPSERT = Upsert(fleet_minutes, _changes())
_DUE = Upsert(due, {})


def add_to_minutes(connection: Connection, memory: Memory, parts: Sequence[Cells], now: int) -> None:
    """Add cells to their minutes; hours that are over by `now` (µs) and are changed by that become due.

    Once a transaction, at its end: every server adds to the same rows, and locks them in the order of their keys.
    """
    parts = [part for part in parts if len(part.ts)]
    if not parts:
        return
    cells = joined(parts)
    groups = cells.kinds * len(Use) + cells.uses
    minutes = -(-cells.ts // MINUTE)
    order = np.lexsort((minutes, groups))
    group, minute = groups[order], minutes[order]
    begins = np.flatnonzero(np.concatenate(([True], (group[1:] != group[:-1]) | (minute[1:] != minute[:-1]))))
    keys = _keys(connection, memory, group[begins].tolist(), (minute[begins] * MINUTE).tolist())
    _UPSERT.execute(connection, [(*key, *row) for key, row in zip(keys, _rows(cells, order, begins), strict=True)])
    hours = {begin_of(ts, HOUR) for _, ts in keys}
    # A row that is there is locked: whoever makes the hour's rollup meanwhile waits, and finds these minutes.
    _DUE.execute(connection, [("hour", 0, hour) for hour in sorted(hours) if hour + HOUR <= now])


def _rows(cells: Cells, order: NDArray[np.int64], begins: NDArray[np.int64]) -> Iterable[Sequence[Any]]:
    """`observed` and the metrics' columns, a row a group and minute."""
    ms, there = cells.ms[order], ~cells.values.absent[:, order]
    stored = cells.values.stored[:, order]
    columns: dict[int, list[list[Any]]] = _sums(stored[_SUMMED], there[_SUMMED], ms, begins)
    for rollup, numbers in _FOLDED.items():
        fold = _FOLDS[rollup]
        folded = fold.reduce(np.where(there[numbers], stored[numbers], fold.neutral), begins, axis=1).tolist()
        seen = np.logical_or.reduceat(there[numbers], begins, axis=1).tolist()
        for number, values, present in zip(numbers, folded, seen, strict=True):
            columns[number] = [[value if is_there else None for value, is_there in zip(values, present, strict=True)]]
    listed = [np.add.reduceat(ms, begins).tolist()]
    for number in range(len(EVERY_SAMPLE)):
        listed += columns[number]
    return zip(*listed, strict=True)


def _sums(
    stored: NDArray[np.int64], there: NDArray[np.bool_], ms: NDArray[np.int64], begins: NDArray[np.int64]
) -> dict[int, list[list[Any]]]:
    """By metric: the sums, of a mean's values × ms; and over how many ms they are."""
    values = np.where(there, stored, 0).astype(np.float64) * np.where(_WEIGHTED, ms, 1)
    sums = np.add.reduceat(values, begins, axis=1).tolist()
    weights = np.add.reduceat(np.where(there, ms, 0), begins, axis=1).tolist()
    return {number: [*pair] for number, *pair in zip(_SUMMED, sums, weights, strict=True)}


def _keys(connection: Connection, memory: Memory, groups: list[int], times: list[int]) -> list[tuple[int, int]]:
    pairs = [divmod(group, len(Use)) for group in groups]
    lacking = {pair for pair in pairs if pair not in memory.groups}
    if lacking:
        _make_groups(connection, memory, lacking)
    return [(memory.groups[pair], ts) for pair, ts in zip(pairs, times, strict=True)]


def _make_groups(connection: Connection, memory: Memory, lacking: Iterable[tuple[int, int]]) -> None:
    kinds = {number: kind for kind, number in memory.kinds.items()}
    named = {(kind, each): (*kinds[kind], Use(each).word) for kind, each in lacking}
    ids = group_ids(connection, list(named.values()))
    memory.groups |= {pair: ids[group] for pair, group in named.items()}
