"""Samples or points of a GPU rolled up into buckets, each metric as its catalogue entry says."""

import dataclasses
from collections.abc import Sequence
from typing import Any, TypeVar

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
_Value = TypeVar("_Value")
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
class Rolled:
    """What the samples of each bucket of a grid say, a list with an element a bucket.

    `observed` ms, the time of the `newest` one (µs, None where there is none), and metric → `values` in its unit.
    """

    observed: list[int]
    newest: list[int | None]
    values: dict[str, list[float | int | None]]


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


def of_grid(points: Points, grid: Grid, metrics: Sequence[Metric]) -> Rolled:
    """Points inside a grid, rolled up into its buckets."""
    places, size = (points.times - 1) // grid.step - grid.first, len(grid)
    numbers, firsts = _runs(places)
    observed = np.add.reduceat(points.durations, firsts).tolist() if len(firsts) else []
    lasts = np.append(firsts[1:], len(places)) - 1
    newest = points.times[lasts].tolist() if len(firsts) else []
    seen: list[int | None] = _spread(size, numbers, observed)
    return Rolled(
        observed=[ms or 0 for ms in seen],
        newest=_spread(size, numbers, newest),
        values={metric.name: _spread(size, *_of_metric(metric, points, places)) for metric in metrics},
    )


def _runs(places: Ints) -> tuple[Ints, Ints]:
    """Each of the rising places once, and where it begins."""
    begins = np.ones(len(places), bool)
    np.not_equal(places[1:], places[:-1], out=begins[1:])
    firsts = np.flatnonzero(begins)
    return places[firsts], firsts


def _spread(size: int, numbers: Ints, values: list[_Value]) -> list[_Value | None]:
    """The values at their numbers in a list of this size."""
    if len(values) == size:
        return list(values)
    spread: list[_Value | None] = [None] * size
    for number, value in zip(numbers.tolist(), values, strict=True):
        spread[number] = value
    return spread


def _of_metric(metric: Metric, points: Points, places: Ints) -> tuple[Ints, list[float | int]]:
    """The metric rolled up, in its unit, and at which of the rising `places`: those where any point has a value."""
    stored = points.columns.get(metric.name)
    there = present(metric, stored) if stored is not None else np.zeros(0, bool)
    if stored is None or not there.any():
        return np.zeros(0, np.int64), []
    numbers, firsts = _runs(places[there])
    totals, over = _reduced(metric.rollup, stored[there], points.durations[there], firsts)
    return numbers, _in_unit(metric, totals, over)


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
