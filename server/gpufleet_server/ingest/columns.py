"""The columns of many reports side by side: one array a metric, checked without a loop over single values."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from gpufleet_agent.catalogue import EVERY_SAMPLE, RESERVED, Metric, Reason, Unit
from gpufleet_agent.wire import Samples, unpack
from numpy.typing import NDArray

from gpufleet_server.domain.problem import Problem

NAMES = tuple(metric.name for metric in EVERY_SAMPLE)
NUMBERS = {name: number for number, name in enumerate(NAMES)}
# No Reason: the value is there.
PRESENT = -1

_KNOWN = frozenset(NAMES)
_LOWEST = np.array([[metric.lowest] for metric in EVERY_SAMPLE], np.int64)
_REASONS_END = _LOWEST + len(Reason)
_VALUES_BEGIN = _LOWEST + RESERVED
# Temperatures may be below zero; a size, share, rate or count may not.
_LEAST = np.array([[m.lowest + RESERVED if m.unit is Unit.CELSIUS else 0] for m in EVERY_SAMPLE], np.int64)
_DTYPES = [f"<i{metric.width}" for metric in EVERY_SAMPLE]


@dataclasses.dataclass(slots=True)
class Block:
    """T samples of G GPUs as they came. `field` is where it stands in its report.

    `times` (µs of the agent's clock) and `durations` (ms) are numbers; `columns` are packed as on the wire, one a
    metric of the catalogue's order, None where it did not come.
    """

    samples: Samples
    field: str
    times: list[int] = dataclasses.field(init=False)
    durations: list[int] = dataclasses.field(init=False)
    columns: tuple[bytes | None, ...] = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.times = unpack(self.samples.times, 8)
        self.durations = unpack(self.samples.durations, 4)
        self.columns = tuple(map(self.samples.columns.get, NAMES))

    @property
    def cells(self) -> int:
        """T × G."""
        return len(self.times) * len(self.samples.gpus)


@dataclasses.dataclass(frozen=True, slots=True)
class Matrix:
    """All values of some blocks: M metrics of the catalogue's order × N cells, a block's first time first.

    `stored`: integers as on the wire. `absent`: where they stand for a reason. `begins`: the first cell of each block.
    """

    stored: NDArray[np.int64]
    absent: NDArray[np.bool_]
    begins: list[int]

    def reasons(self) -> NDArray[np.int8]:
        """M × N: the Reason where a value is absent, PRESENT where it is there."""
        return np.where(self.absent, self.stored - _LOWEST, PRESENT).astype(np.int8)

    def take(self, numbers: Sequence[int]) -> "Matrix":
        """These blocks of it."""
        if len(numbers) == len(self.begins):
            return self
        ends = [*self.begins[1:], self.stored.shape[1]]
        parts = [np.arange(self.begins[number], ends[number]) for number in numbers]
        cells = np.concatenate(parts) if parts else np.zeros(0, np.int64)
        sizes = [len(part) for part in parts]
        return Matrix(self.stored[:, cells], self.absent[:, cells], _begins(sizes))

    def wrong(self) -> NDArray[np.bool_]:
        """M × N: where an integer means nothing, or is negative and can't be."""
        return np.where(self.absent, self.stored >= _REASONS_END, self.stored < _LEAST)


def matrix(blocks: Sequence[Block]) -> Matrix:
    """The values of blocks whose lengths `wire.decode` has checked; what a block lacks was not observed."""
    sizes = [block.cells for block in blocks]
    stored = np.empty((len(NAMES), sum(sizes)), np.int64)
    for number, parts in enumerate(zip(*(block.columns for block in blocks), strict=True)):
        there = parts if None not in parts else map(functools.partial(_or_missing, number), parts, sizes)
        stored[number] = np.frombuffer(b"".join(there), _DTYPES[number])
    return Matrix(stored, stored < _VALUES_BEGIN, _begins(sizes))


def beside(parts: Sequence[Matrix]) -> Matrix:
    """The values of all parts, one after the other."""
    sizes = [part.stored.shape[1] for part in parts]
    begins = [at + begin for part, at in zip(parts, _begins(sizes), strict=True) for begin in part.begins]
    stored, absent = (np.concatenate([getattr(part, name) for part in parts], axis=1) for name in ("stored", "absent"))
    return Matrix(stored, absent, begins)


def problems(blocks: Sequence[Block], values: Matrix) -> dict[int, Problem]:
    """By number, the first thing that is wrong with the values of each block that has any."""
    wrong = values.wrong()
    if not wrong.any():
        return {}
    found: dict[int, Problem] = {}
    for number, (block, begin) in enumerate(zip(blocks, values.begins, strict=True)):
        part = wrong[:, begin : begin + block.cells]
        if part.any():
            metric, cell = np.argwhere(part)[0].tolist()
            found[number] = _meaningless(block, metric, cell, int(values.stored[metric, begin + cell]))
    return found


def check_stored(metric: Metric, stored: int, field: str) -> None:
    """Problem where one stored integer is out of the metric's width, an unknown reason, or negative."""
    least = metric.lowest + RESERVED if metric.unit is Unit.CELSIUS else 0
    is_reason = metric.lowest <= stored < metric.lowest + len(Reason)
    if not is_reason and not least <= stored <= metric.highest:
        raise Problem(422, f"{stored} is neither a value of {metric.name} nor a known reason", field)


def unknown(samples: Iterable[Samples]) -> Iterator[str]:
    """The names of columns that no metric of every sample has."""
    return (name for each in samples for name in each.columns.keys() - _KNOWN)


def _or_missing(number: int, column: bytes | None, cells: int) -> bytes:
    if column is not None:
        return column
    metric = EVERY_SAMPLE[number]
    return metric.absent(Reason.NOT_OBSERVED).to_bytes(metric.width, "little", signed=True) * cells


def _begins(sizes: Sequence[int]) -> list[int]:
    begins, at = [], 0
    for size in sizes:
        begins.append(at)
        at += size
    return begins


def _meaningless(block: Block, number: int, cell: int, value: int) -> Problem:
    metric, gpu = EVERY_SAMPLE[number], block.samples.gpus[cell % len(block.samples.gpus)]
    problem = "is neither a value nor a known reason" if value < metric.lowest + RESERVED else "can't be negative"
    return Problem(422, f"{metric.name} {value} of {gpu} {problem}", f"{block.field}.columns.{metric.name}[{cell}]")
