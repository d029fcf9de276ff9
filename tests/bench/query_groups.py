"""Rows of `fleet_minutes` for a simulated fleet: a day of template nodes, each counted as often as it stands there."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import EVERY_SAMPLE, RESERVED, Metric, Rollup
from gpufleet_server.domain import use
from gpufleet_server.domain.use import Use
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.store.blocks import Block
from gpufleet_server.store.fleet_rollups import Group
from gpufleet_server.store.tiers import group_columns
from numpy.typing import NDArray

_FOLDS: dict[Rollup, tuple[Any, int]] = {
    Rollup.MAX: (np.maximum, np.iinfo(np.int64).min),
    Rollup.MIN: (np.minimum, np.iinfo(np.int64).max),
    Rollup.ANY: (np.bitwise_or, 0),
}
COLUMNS = ("observed", *(column.name for metric in EVERY_SAMPLE for column in group_columns(metric)))


class Minutes:
    """Sums over GPUs, by group and minute; `kinds` are the pairs of site and model that there are."""

    def __init__(self, kinds: list[tuple[str, str]], times: NDArray[np.int64]) -> None:
        """Begin with nothing; `times` are the ends of the minutes (µs), one sample is in each."""
        self._kinds, self._times = kinds, times
        size = len(kinds) * len(Use) * len(times)
        self._columns: dict[str, NDArray[Any]] = {"observed": np.zeros(size)}
        for metric in EVERY_SAMPLE:
            fill = _FOLDS[metric.rollup][1] if metric.rollup in _FOLDS else 0.0
            self._columns |= {column.name: np.full(size, fill) for column in group_columns(metric)}

    def add(self, boards: Boards, block: Block, count: NDArray[np.int64]) -> None:
        """Add samples, a row a minute; `count` says how many GPUs each column stands for."""
        uses = use.use({name: block.columns[name] for name in use.metrics()})
        kind = np.repeat([self._kinds.index((node.site.name, node.model.name)) for node in boards.nodes], 8)
        place = (kind * len(Use) + uses) * len(self._times) + np.arange(len(self._times))[:, None]
        ms = block.durations * count
        self._columns["observed"] += self._summed(place, ms)
        for metric in EVERY_SAMPLE:
            self._add(metric, place, block.columns[metric.name], block.durations, count)

    def rows(self, ids: dict[Group, int]) -> Iterator[list[Any]]:
        """group_id, ts and COLUMNS, of the groups and minutes that were observed, in the order of time."""
        there = np.flatnonzero(self._columns["observed"])
        there = there[np.argsort(there % len(self._times), kind="stable")]
        group, minute = np.divmod(there, len(self._times))
        listed = [[ids[self._group(number)] for number in group.tolist()], self._times[minute].tolist()]
        for metric in (None, *EVERY_SAMPLE):
            columns = ["observed"] if metric is None else [column.name for column in group_columns(metric)]
            listed += [self._listed(metric, name, there) for name in columns]
        yield from map(list, zip(*listed, strict=True))

    def groups(self) -> list[Group]:
        """Every group that may have rows."""
        return [self._group(number) for number in range(len(self._kinds) * len(Use))]

    def _group(self, number: int) -> Group:
        kind, used = divmod(number, len(Use))
        return (*self._kinds[kind], True, Use(used).word)

    def _add(
        self, metric: Metric, place: NDArray[np.int64], stored: NDArray[np.int64], ms: NDArray[np.int64], count: Any
    ) -> None:
        there = stored >= metric.lowest + RESERVED
        if metric.rollup in _FOLDS:
            _FOLDS[metric.rollup][0].at(self._columns[metric.name], place[there], stored[there])
            return
        weight = ms * count if metric.rollup is Rollup.MEAN else count
        self._columns[metric.name] += self._summed(place, np.where(there, stored * weight, 0))
        self._columns[f"{metric.name}_ms"] += self._summed(place, np.where(there, ms * count, 0))

    def _summed(self, place: NDArray[np.int64], weights: NDArray[np.int64]) -> NDArray[np.float64]:
        # With weights it counts in floats, whatever its type says.
        return np.bincount(place.ravel(), weights.ravel(), len(self._columns["observed"])).astype(np.float64)

    def _listed(self, metric: Metric | None, name: str, there: NDArray[np.int64]) -> list[Any]:
        values = self._columns[name][there]
        if metric is not None and metric.rollup in _FOLDS:
            nothing = _FOLDS[metric.rollup][1] if metric.rollup is not Rollup.ANY else None
            return [None if value == nothing else value for value in values.tolist()]
        # A sum is a float, its ms a whole number.
        whole = metric is None or name.endswith("_ms")
        return list((values.astype(np.int64) if whole else values).tolist())
