"""What simulated GPUs were used for, and by whom: from the same samples, by the same rule, as a real agent."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, RESERVED, Use
from gpufleet_agent.wire import Holder, Usage
from numpy.typing import NDArray

from gpufleet_server.domain.use import metrics, use
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.holders import Place, Places
from gpufleet_server.simulate.noise import Integers
from gpufleet_server.simulate.plan import JOB_SECONDS
from gpufleet_server.simulate.workload import IDLE, INFERENCE, LEFT, jobs

_SECOND = 1_000_000
_ACTIVITY = "gpu_utilization"
_KNOWN = BY_NAME[_ACTIVITY].lowest + RESERVED
# Of each kind of job.
_PROCESSES = np.array([{LEFT: 0, INFERENCE: 2}.get(kind, 1) for kind in range(INFERENCE + 1)])

Columns = dict[str, NDArray[np.signedinteger]]
_Figures = tuple[int, int, int, int, int, int, int, int | None, int]


class _Span(NamedTuple):
    """A GPU's job in samples that follow each other; the rest of a `Usage` in `figures`, from its begin on."""

    kind: int
    slot: int
    figures: _Figures


class Usages:
    """Of N nodes with equally many GPUs at T times. `interval` in ms; columns and `lost` are T × all GPUs."""

    def __init__(
        self, boards: Boards, times: Integers, interval: int, columns: Columns, lost: NDArray[np.bool_] | None
    ) -> None:
        self._boards, self._interval, self._times = boards, interval, times.tolist()
        self._use = use({name: columns[name] for name in metrics()})
        self._memory, self._activity = columns["fb_used"], columns[_ACTIVITY]
        self._kind, self._slot = jobs(boards, times)
        if lost is not None:
            self._kind[lost] = IDLE
        self._whole: list[_Span | None] | None = None

    def of(self, number: int, places: Places, rows: Iterable[tuple[int, int]]) -> tuple[list[Holder], list[Usage]]:
        """Holders and pieces of one of the nodes in these rows, by its own clock."""
        numbers: dict[object, int] = {}
        holders: list[Holder] = []
        usage: list[Usage] = []
        for first, last in rows:
            for gpu, span in self._spans(number, first, last):
                for place in places.of(gpu, span.kind, span.slot):
                    holder = numbers.get(place.job)
                    if holder is None:
                        holder = numbers[place.job] = len(holders)
                        holders.append(place.holder)
                    figures = span.figures if place.plain else _altered(span.figures, place, places.skew)
                    usage.append(Usage(place.gpu, place.partition, holder, *figures))
        return holders, usage

    def _spans(self, number: int, first: int, last: int) -> Iterator[tuple[int, _Span]]:
        """Each GPU's jobs in these rows, by its place in the node."""
        columns = self._boards.columns(number)
        if (first, last) == (0, len(self._times)):
            self._whole = self._whole or self._sums(first, last, slice(0, len(self._boards)))
            spans = self._whole[columns]
        else:
            spans = self._sums(first, last, columns)
        for gpu, span in enumerate(spans):
            if span is None:
                yield from ((gpu, part) for part in self._parts(first, last, columns.start + gpu))
            elif span.kind != IDLE:
                yield gpu, span

    def _parts(self, first: int, last: int, column: int) -> Iterator[_Span]:
        """The jobs of a GPU that has several in these rows, or was lost."""
        kind, slot = self._kind[first:last, column], self._slot[first:last, column]
        changed = (np.flatnonzero((kind[1:] != kind[:-1]) | (slot[1:] != slot[:-1])) + first + 1).tolist()
        for begin, until in zip([first, *changed], [*changed, last], strict=True):
            (span,) = self._sums(begin, until, slice(column, column + 1))
            if span is not None and span.kind != IDLE:
                yield span

    def _sums(self, first: int, last: int, columns: slice) -> list[_Span | None]:
        """The job of each GPU in these rows; None where there are several."""
        part, step = np.s_[first:last, columns], self._interval
        used, memory, activity = self._use[part], self._memory[part], self._activity[part]
        kind, slot = self._kind[first, columns], self._slot[first, columns]
        one = (self._kind[last - 1, columns] == kind) & (self._slot[last - 1, columns] == slot)
        at = self._times[first]
        # A job that began within the first sample was there since then only.
        begin = np.clip((slot * JOB_SECONDS - self._boards.phase[columns]) * _SECOND, at - step * 1000, at)
        observed = (last - first - 1) * step + (at - begin) // 1000
        ran = activity.mean(axis=0).astype(np.int64).tolist()
        figures = zip(
            begin.tolist(),
            [self._times[last - 1]] * len(kind),
            observed.tolist(),
            np.minimum((used == Use.ACTIVE).sum(axis=0) * step, observed).tolist(),
            np.minimum((used == Use.HELD).sum(axis=0) * step, observed).tolist(),
            (memory.mean(axis=0).astype(np.int64) << 10).tolist(),
            (memory.max(axis=0).astype(np.int64) << 10).tolist(),
            [share if share >= _KNOWN else None for share in ran],
            _PROCESSES[kind].tolist(),
            strict=True,
        )
        spans = zip(kind.tolist(), slot.tolist(), figures, one.tolist(), strict=True)
        return [_Span(*span) if alone else None for *span, alone in spans]


def _altered(figures: _Figures, place: Place, skew: int) -> _Figures:
    """By a clock that is wrong; of a partition, of which nobody tells what it does."""
    begin, end, observed, active, held, memory, most, activity, processes = figures
    if place.partition is not None:
        active, held, activity = 0, 0, None
        memory, most = int(memory * place.share), int(most * place.share)
    return begin + skew, end + skew, observed, active, held, memory, most, activity, processes
