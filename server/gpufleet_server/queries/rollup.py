"""Samples or points of a GPU rolled up into buckets, each metric as its catalogue entry says."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, RESERVED, Metric, Rollup
from numpy.typing import NDArray

from gpufleet_server.queries.buckets import Grid
from gpufleet_server.store.blocks import Block

Ints = NDArray[np.int64]
_REDUCERS = {
    Rollup.SUM: np.add,
    Rollup.MAX: np.maximum,
    Rollup.MIN: np.minimum,
    Rollup.ANY: np.bitwise_or,
}
_SAFE = 1 << 62
# Up to here floats hold every integer, so that a quotient of two is rounded once.
_EXACT = float(1 << 53)


@dataclasses.dataclass(frozen=True, slots=True)
class Points:
    """What is known of a GPU: n rising `times` (µs, ends of intervals), `durations` (ms), metric → stored integers."""

    times: Ints
    durations: Ints
    columns: dict[str, Ints]


@dataclasses.dataclass(frozen=True, slots=True)
class Bucket:
    """What the samples of one bucket say: ms observed, the newest one's time, and values in the metrics' units."""

    observed: int
    newest: int
    values: dict[str, float | int | None]


def of_slot(block: Block, slot: int) -> Points:
    """The points of the GPU in a slot; none where the block does not hold it."""
    place = np.flatnonzero(block.slots == slot)
    if not len(place):
        nothing = np.zeros(0, np.int64)
        return Points(nothing, nothing, {})
    durations = block.durations[:, place[0]]
    there = durations > 0
    columns = {name: values[there, place[0]] for name, values in block.columns.items()}
    return Points(block.times[there], durations[there], columns)


def of_buckets(points: Points, grid: Grid, metrics: Sequence[Metric]) -> dict[int, Bucket]:
    """The buckets that hold points, by their place in the grid."""
    places = (points.times - 1) // grid.step - grid.first
    numbers, firsts = np.unique(places, return_index=True)
    if not len(numbers):
        return {}
    observed = np.add.reduceat(points.durations, firsts).tolist()
    newest = points.times[np.append(firsts[1:], len(places)) - 1].tolist()
    columns = {metric.name: of_metric(metric, points, places) for metric in metrics}
    return {
        number: Bucket(observed[n], newest[n], {name: values.get(number) for name, values in columns.items()})
        for n, number in enumerate(numbers.tolist())
    }


def of_metric(metric: Metric, points: Points, places: Ints) -> dict[int, float | int]:
    """The metric rolled up, in its unit, for each of the rising `places` at which any point has a value."""
    stored = points.columns.get(metric.name)
    there = present(metric, stored) if stored is not None else np.zeros(0, bool)
    if stored is None or not there.any():
        return {}
    numbers, firsts = np.unique(places[there], return_index=True)
    values, weights = stored[there], points.durations[there]
    totals, over = _reduced(metric.rollup, values, weights, firsts)
    return dict(zip(numbers.tolist(), _in_unit(metric, totals, over), strict=True))


def _in_unit(metric: Metric, totals: NDArray[Any], over: Ints | None) -> list[int | float]:
    """The totals, divided by `over`, as values in the metric's unit."""
    up, down = metric.step.numerator, metric.step.denominator
    if over is None and down == 1:
        return [total * up for total in totals.tolist()]
    below = np.full(len(totals), down) if over is None else down * over
    if float(np.abs(totals).max()) * up < _EXACT and float(below.max()) < _EXACT:
        quotients: list[int | float] = (totals * up / below).tolist()
        return quotients
    return [total * up / divisor for total, divisor in zip(totals.tolist(), below.tolist(), strict=True)]


def present(metric: Metric, stored: Ints) -> NDArray[np.bool_]:
    """Where stored integers are values rather than reasons for their absence."""
    return stored >= BY_NAME[metric.name].lowest + RESERVED


def _reduced(rollup: Rollup, values: Ints, weights: Ints, firsts: Ints) -> tuple[NDArray[Any], Ints | None]:
    """A total for each run that begins at `firsts`, and by what it is to be divided, if it is."""
    if rollup is Rollup.MEAN:
        large = int(np.abs(values).max()) * int(weights.sum()) > _SAFE
        products = values.astype(np.float64) * weights if large else values * weights
        return np.add.reduceat(products, firsts), np.add.reduceat(weights, firsts)
    if rollup is Rollup.LAST:
        return values[np.append(firsts[1:], len(values)) - 1], None
    return _REDUCERS[rollup].reduceat(values, firsts), None
