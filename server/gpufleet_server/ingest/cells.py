"""The samples of many reports as one array each of GPUs, times, lengths and values: a cell is a GPU at a time."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gpufleet_server.domain import use
from gpufleet_server.ingest.columns import NUMBERS, Block, Matrix, beside
from gpufleet_server.ingest.memory import GpuTable, Layout, Node


@dataclasses.dataclass(slots=True)
class Placed:
    """A block whose GPUs are known, and the offset (µs) that corrects its times."""

    node: Node
    layout: Layout
    block: Block
    offset: int


@dataclasses.dataclass(slots=True)
class Cells:
    """N cells: `rows` of the GpuTable, their `kinds`, `ts` (µs, corrected), `ms`, `values` (M × N), `uses` (Use)."""

    table: GpuTable
    rows: NDArray[np.int64]
    kinds: NDArray[np.int32]
    ts: NDArray[np.int64]
    ms: NDArray[np.int64]
    values: Matrix
    uses: NDArray[np.int8]

    def gpu_ids(self, where: NDArray[np.int64]) -> list[int]:
        """The store's ids of the GPUs of these cells."""
        ids: list[int] = self.table.gpu_id[self.rows[where]].tolist()
        return ids


def cells(table: GpuTable, placed: Sequence[Placed], values: Matrix) -> Cells:
    """The cells of blocks, whose values are given in the same order."""
    rows, times, durations, gpus = [], [], [], []
    for each in placed:
        block, n = each.block, len(each.block.times)
        rows.append(each.layout.rows if n == 1 else np.tile(each.layout.rows, n))
        times += [time + each.offset for time in block.times] if each.offset else block.times
        durations += block.durations
        gpus += [len(each.layout.gpus)] * n
    repeats, of = np.array(gpus, np.int64), np.concatenate(rows) if rows else np.zeros(0, np.int64)
    return Cells(
        table,
        of,
        table.kind[of],
        np.repeat(np.array(times, np.int64), repeats),
        np.repeat(np.array(durations, np.int64), repeats),
        values,
        use.use({name: values.stored[NUMBERS[name]] for name in use.metrics()}),
    )


def joined(parts: Sequence[Cells]) -> Cells:
    """Cells of one table, one part after the other; there is at least one."""
    if len(parts) == 1:
        return parts[0]
    return Cells(
        parts[0].table,
        np.concatenate([part.rows for part in parts]),
        np.concatenate([part.kinds for part in parts]),
        np.concatenate([part.ts for part in parts]),
        np.concatenate([part.ms for part in parts]),
        beside([part.values for part in parts]),
        np.concatenate([part.uses for part in parts]),
    )
