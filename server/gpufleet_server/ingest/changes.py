"""Rows of `states`: what changed, and since when. What stayed as it was is not stored again."""

from collections.abc import Iterable, Iterator

import numpy as np
from gpufleet_agent.catalogue import BY_NAME
from gpufleet_agent.wire import State
from numpy.typing import NDArray

from gpufleet_server.ingest.cells import Cells
from gpufleet_server.ingest.columns import NAMES, PRESENT
from gpufleet_server.ingest.memory import STATES, GpuTable, Node

Row = tuple[int, str, int, int | None, int | None]
COLUMNS = ("gpu_id", "metric", "ts", "value", "reason")


def absences(table: GpuTable, cells: Cells) -> Iterator[Row]:
    """Where a metric of every sample becomes absent, is so for another reason, or is there again."""
    reasons = cells.values.reasons()
    changed = (reasons != table.reasons[cells.rows].T).any(axis=0)
    if not changed.any():
        return
    # All samples of the GPUs concerned, each GPU's in the order they came.
    concerned = np.flatnonzero(np.isin(cells.rows, np.unique(cells.rows[changed])))
    concerned = concerned[np.argsort(cells.rows[concerned], kind="stable")]
    rows, reasons = cells.rows[concerned], reasons[:, concerned]
    first = np.concatenate(([True], rows[1:] != rows[:-1]))
    before = np.where(first, table.reasons[rows].T, np.concatenate((reasons[:, :1], reasons[:, :-1]), axis=1))
    yield from _told(table, cells, concerned, reasons, before)
    last = np.concatenate((first[1:], [True]))
    table.reasons[rows[last]] = reasons[:, last].T


def _told(
    table: GpuTable, cells: Cells, concerned: NDArray[np.int64], reasons: NDArray[np.int8], before: NDArray[np.int8]
) -> Iterator[Row]:
    at, metrics = np.nonzero((reasons != before).T)
    where = concerned[at]
    told = zip(
        cells.rows[where].tolist(),
        cells.gpu_ids(where),
        metrics.tolist(),
        cells.ts[where].tolist(),
        reasons[metrics, at].tolist(),
        strict=True,
    )
    since = table.since
    for row, gpu_id, metric, time, reason in told:
        ts = _after(time, int(since[row, metric]))
        since[row, metric] = ts
        yield gpu_id, NAMES[metric], ts, None, None if reason == PRESENT else reason


def values(table: GpuTable, node: Node, states: Iterable[State], offset: int) -> Iterator[Row]:
    """New values of metrics sent on change, oldest first; those that are already known are left out."""
    for state in sorted(states, key=lambda state: state.at):
        number, gpu = STATES.get(state.metric), node.gpus[state.gpu]
        if number is None:
            continue
        before = int(table.told_at[gpu.row, number])
        if before and table.told[gpu.row, number] == state.stored:
            continue
        ts = _after(state.at + offset, before)
        table.told[gpu.row, number], table.told_at[gpu.row, number] = state.stored, ts
        reason = BY_NAME[state.metric].reason(state.stored)
        yield gpu.gpu_id, state.metric, ts, state.stored if reason is None else None, reason


def _after(ts: int, newest: int) -> int:
    # A clock that is corrected backwards must not put what is newer behind what is older.
    return max(ts, newest + 1)
