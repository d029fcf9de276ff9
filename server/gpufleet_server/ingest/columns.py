"""Columns of a report as arrays: checked, and turned into rows, without a loop over single values."""

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import EVERY_SAMPLE, RESERVED, Metric, Reason, Unit
from gpufleet_agent.wire import Samples
from numpy.typing import NDArray

from gpufleet_server.domain.problem import Problem

METRICS = {metric.name: number for number, metric in enumerate(EVERY_SAMPLE)}
PRESENT = -1

_LOWEST = np.array([[metric.lowest] for metric in EVERY_SAMPLE], np.int64)
_REASONS_END = _LOWEST + len(Reason)
_VALUES_BEGIN = _LOWEST + RESERVED
# Temperatures may be below zero; a size, share, rate or count may not.
_LEAST = np.array([[m.lowest + RESERVED if m.unit is Unit.CELSIUS else 0] for m in EVERY_SAMPLE], np.int64)
_MISSING = np.array([[metric.absent(Reason.NOT_OBSERVED)] for metric in EVERY_SAMPLE], np.int64)
_DTYPES = [f"<i{metric.width}" for metric in EVERY_SAMPLE]


@dataclasses.dataclass(frozen=True, slots=True)
class Block:
    """T samples of G GPUs, M metrics of the catalogue's order.

    `times` (T, µs of the agent's clock), `durations` (T, ms), `stored` (M × T·G, all GPUs of the first time first),
    `absent` (of the same shape: where `stored` is a reason, not a value).
    """

    gpus: list[str]
    times: NDArray[np.int64]
    durations: NDArray[np.int32]
    stored: NDArray[np.int64]
    absent: NDArray[np.bool_]

    @property
    def size(self) -> int:
        """Bytes of memory it holds."""
        return self.stored.nbytes + self.absent.nbytes

    def reasons(self) -> NDArray[np.int8]:
        """M × T × G: the Reason where a value is absent, PRESENT where it is there."""
        codes = np.where(self.absent, self.stored - _LOWEST, PRESENT).astype(np.int8)
        return codes.reshape(len(EVERY_SAMPLE), len(self.times), len(self.gpus))

    def rows(self, gpu_ids: list[int], offset: int) -> Iterator[tuple[Any, ...]]:
        """Rows of `samples`: gpu_id, ts (corrected by `offset` µs), duration, then the metrics."""
        ids = gpu_ids * len(self.times)
        times = np.repeat(self.times + offset, len(gpu_ids)).tolist()
        durations = np.repeat(self.durations, len(gpu_ids)).tolist()
        absent = np.count_nonzero(self.absent, axis=1).tolist()
        return zip(ids, times, durations, *map(_nullable, self.stored, self.absent, absent), strict=True)


def block(samples: Samples, field: str) -> Block:
    """The arrays of a block whose lengths `wire.decode` has checked. Problem for integers that mean nothing."""
    times = np.frombuffer(samples.times, "<i8")
    stored = np.repeat(_MISSING, len(times) * len(samples.gpus), axis=1)
    for name, column in samples.columns.items():
        number = METRICS.get(name)
        if number is not None:
            stored[number] = np.frombuffer(column, _DTYPES[number])
    absent = stored < _VALUES_BEGIN
    wrong = (absent & (stored >= _REASONS_END)) | (~absent & (stored < _LEAST))
    if wrong.any():
        raise _meaningless(samples, field, stored, wrong)
    return Block(samples.gpus, times, np.frombuffer(samples.durations, "<i4"), stored, absent)


def check_stored(metric: Metric, stored: int, field: str) -> None:
    """Problem where one stored integer is out of the metric's width, an unknown reason, or negative."""
    least = metric.lowest + RESERVED if metric.unit is Unit.CELSIUS else 0
    is_reason = metric.lowest <= stored < metric.lowest + len(Reason)
    if not is_reason and not least <= stored <= metric.highest:
        raise Problem(422, f"{stored} is neither a value of {metric.name} nor a known reason", field)


def unknown(samples: Iterable[Samples]) -> Iterator[str]:
    """The names of columns that no metric of every sample has."""
    return (name for block in samples for name in block.columns if name not in METRICS)


def _nullable(stored: NDArray[np.int64], absent: NDArray[np.bool_], count: int) -> list[int | None]:
    if count == len(stored):
        return [None] * count
    values: list[int | None] = stored.tolist()
    if count:
        for position in np.flatnonzero(absent).tolist():
            values[position] = None
    return values


def _meaningless(samples: Samples, field: str, stored: NDArray[np.int64], wrong: NDArray[np.bool_]) -> Problem:
    number, position = np.argwhere(wrong)[0].tolist()
    metric, gpu = EVERY_SAMPLE[number], samples.gpus[position % len(samples.gpus)]
    value = int(stored[number, position])
    problem = "is neither a value nor a known reason" if value < metric.lowest + RESERVED else "can't be negative"
    return Problem(422, f"{metric.name} {value} of {gpu} {problem}", f"{field}.columns.{metric.name}[{position}]")
