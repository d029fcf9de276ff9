"""Metrics over time, held against a plain count over what was put in."""

import dataclasses

import numpy as np
import pytest
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, Metric, Reason, Rollup
from gpufleet_agent.catalogue import METRICS as CATALOGUE
from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries import buckets, series
from gpufleet_server.queries.buckets import Grid
from gpufleet_server.queries.rollup import Points
from gpufleet_server.store.blocks import Block
from gpufleet_server.store.engine import Store
from hypothesis import given
from hypothesis import strategies as st

from tests.server.fleet import NOW, SECOND, Fleet
from tests.server.queries.planes import sealed
from tests.server.queries.rolled import of_buckets

BEGIN = NOW - NOW % (60 * SECOND)
SAMPLED = ("gpu_utilization", "fb_used", "energy", "gpu_temperature", "temperature_margin", "clock_event_reasons")
LAST = dataclasses.replace(BY_NAME["sm_clock"], rollup=Rollup.LAST)
METRICS = [*(BY_NAME[name] for name in SAMPLED), LAST]

Row = dict[str, int | None]


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Samples at distinct times with gaps in them; flags may have any bit."""
    at = draw(st.lists(st.integers(BEGIN - 200 * SECOND, BEGIN + 500 * SECOND), unique=True, max_size=20))
    found = []
    for ts in at:
        row: Row = {"ts": ts, "duration": draw(st.integers(1, 90_000))}
        for metric in METRICS:
            low = 0 if metric.rollup is Rollup.ANY else -50 if metric.name == "temperature_margin" else 0
            row[metric.name] = draw(st.none() | st.integers(low, metric.highest))
        found.append(row)
    return found


def expected(metric: Metric, within: list[Row]) -> float | int | None:
    """A rollup by its definition, in the metric's unit."""
    present = [(row, value) for row in within if (value := row[metric.name]) is not None]
    values = [value for _, value in present]
    if not values:
        return None
    match metric.rollup:
        case Rollup.MEAN:
            weights = [row["duration"] or 0 for row, _ in present]
            mean = sum(v * w for v, w in zip(values, weights, strict=True)) / sum(weights)
            return float(mean * metric.step)
        case Rollup.SUM:
            return float(sum(values) * metric.step)
        case Rollup.MAX:
            return float(max(values) * metric.step)
        case Rollup.MIN:
            return float(min(values) * metric.step)
        case Rollup.LAST:
            return float(max(present, key=lambda one: one[0]["ts"] or 0)[1] * metric.step)
    together = 0
    for value in values:
        together |= value
    return together


def points_of(put: list[Row]) -> Points:
    """The same as arrays."""
    ordered = sorted(put, key=lambda row: row["ts"] or 0)
    columns = {m.name: np.array([_stored(m, row[m.name]) for row in ordered], np.int64) for m in METRICS}
    times, durations = (np.array([row[name] for row in ordered], np.int64) for name in ("ts", "duration"))
    return Points(times, durations, columns)


def _stored(metric: Metric, value: int | None) -> int:
    return metric.absent(Reason.NOT_OBSERVED) if value is None else value


@given(rows(), st.integers(SECOND // 10, 200 * SECOND), st.integers(-100 * SECOND, 100 * SECOND))
def test_rollups_are_what_the_catalogue_says(put: list[Row], step: int, shift: int) -> None:
    """For any samples and step each bucket holds the rollup of just the samples that ended in it."""
    grid = Grid(BEGIN + shift, BEGIN + 600 * SECOND, step)
    inside = [row for row in put if (row["ts"] or 0) > grid.start]
    found = of_buckets(points_of(inside), grid, METRICS)
    places = [((row["ts"] or 0) - 1) // step - grid.first for row in inside]
    assert found.keys() == set(places)
    for number, bucket in found.items():
        within = [row for row, place in zip(inside, places, strict=True) if place == number]
        assert bucket.observed == sum(row["duration"] or 0 for row in within)
        assert bucket.newest == max(row["ts"] or 0 for row in within)
        for metric in METRICS:
            value = expected(metric, within)
            assert bucket.values[metric.name] == (None if value is None else pytest.approx(value))


def test_regular_samples_cover_everything(store: Store, fleet: Fleet) -> None:
    """Samples that end on the edges of buckets fill the buckets before, to exactly 1; a silent bucket has 0."""
    gpu = fleet.gpu(fleet.node("a"), "GPU-1")
    for number in (*range(1, 13), 19):
        fleet.sample(gpu, ts=BEGIN + number * 10 * SECOND, power=1000 + number)
    with store.reading() as connection:
        grid = Grid(BEGIN, BEGIN + 240 * SECOND, 60 * SECOND).until(BEGIN + 195 * SECOND)
        found = series.stepped(connection, gpu, grid, [BY_NAME["power"]])
    assert found.times == [BEGIN + n * 60 * SECOND for n in range(4)]
    assert found.coverage == [1, 1, 0, pytest.approx(10 / 15)]
    assert found.columns[0].values == [100.35, 100.95, None, 101.9]
    assert found.columns[0].reasons == [None, None, "not observed", None]


def test_a_gap_has_the_reason_of_its_time(store: Store, fleet: Fleet) -> None:
    """What was unsupported then and readable later says both, also sample by sample."""
    gpu = fleet.gpu(fleet.node("a"), "GPU-1")
    for number in range(1, 5):
        fleet.sample(gpu, ts=BEGIN + number * 10 * SECOND, power=None if number < 4 else 5)
    fleet.state(gpu, "power", BEGIN + 10 * SECOND, reason=Reason.NO_PERMISSION)
    fleet.state(gpu, "power", BEGIN + 30 * SECOND, reason=Reason.FAILED)
    fleet.state(gpu, "power", BEGIN + 40 * SECOND)
    with store.reading() as connection:
        stepped = series.stepped(connection, gpu, Grid(BEGIN, BEGIN + 50 * SECOND, 10 * SECOND), [BY_NAME["power"]])
        raw = series.raw(connection, gpu, BEGIN, BEGIN + 50 * SECOND, [BY_NAME["power"]])
    reasons = ["no permission", "no permission", "failed", None]
    assert stepped.columns[0].reasons == [*reasons, "not observed"]
    assert (raw.columns[0].reasons, raw.columns[0].values) == (reasons, [None, None, None, 0.5])
    assert raw.times == [BEGIN + n * 10 * SECOND for n in range(1, 5)]


def test_a_state_holds_until_it_changes(store: Store, fleet: Fleet) -> None:
    """Before the first known value nobody looked; then each bucket has what is in force at its end."""
    gpu = fleet.gpu(fleet.node("a"), "GPU-1")
    for after, value in ((-300, 1), (15, 2), (17, 3), (20, 4), (45, None)):
        fleet.state(gpu, "pcie_replays", BEGIN + after * SECOND, value, None if value else Reason.LOST)
    fleet.state(gpu, "pcie_link_width", BEGIN + 25 * SECOND, 8)
    names = [BY_NAME["pcie_replays"], BY_NAME["pcie_link_width"]]
    with store.reading() as connection:
        found = series.stepped(connection, gpu, Grid(BEGIN, BEGIN + 60 * SECOND, 10 * SECOND), names)
    assert found.columns[0].values == [1, 4, 4, 4, None, None]
    assert found.columns[0].reasons == [None, None, None, None, "lost", "lost"]
    assert found.columns[1].values == [None, None, 8, 8, 8, 8]
    assert set(found.coverage) == {0}


def test_too_many_raw_samples_are_refused(store: Store, fleet: Fleet) -> None:
    """The answer says to ask for less or for a step."""
    gpu = fleet.gpu(fleet.node("a"), "GPU-1")
    times = BEGIN + np.arange(buckets.MAX_POINTS + 1)
    durations = np.ones((len(times), 1), np.int64)
    sealed(store, 1, Block(np.array([0]), times, durations, {}))
    with store.reading() as connection:
        assert len(series.raw(connection, gpu, BEGIN, NOW, []).times) == buckets.MAX_POINTS
        with pytest.raises(Problem, match="more than 11000") as refused:
            series.raw(connection, gpu, BEGIN - 1, NOW, [])
    assert refused.value.field == "step"


@given(st.integers(0, NOW), st.integers(1, 10 * 366 * 86_400 * SECOND), st.integers(100, 3_600_000))
def test_a_step_is_chosen_to_fit(start: int, span: int, interval_ms: int) -> None:
    """Few enough points, whole seconds, and no finer than the samples unless the range is shorter than one."""
    chosen = buckets.grid(start, start + span, None, interval_ms)
    assert 0 < len(chosen) <= 300
    assert chosen.step % SECOND == 0
    assert chosen.step >= interval_ms * 1000


@pytest.mark.parametrize("step", [0, SECOND - 1, 367 * 86_400 * SECOND, 2 * SECOND])
def test_a_step_that_cannot_be_is_refused(step: int) -> None:
    """Too fine, too coarse, or too many points."""
    with pytest.raises(Problem) as refused:
        buckets.grid(BEGIN, BEGIN + 86_400 * SECOND, step, 10_000)
    assert refused.value.field == "step"


def test_every_metric_can_be_asked_at_once(store: Store, fleet: Fleet) -> None:
    """No limit on columns or variables of the database is near."""
    gpu = fleet.gpu(fleet.node("a"), "GPU-1")
    fleet.sample(gpu, ts=BEGIN + SECOND, **{metric.name: 5 for metric in EVERY_SAMPLE})
    with store.reading() as connection:
        found = series.stepped(connection, gpu, Grid(BEGIN, NOW, 60 * SECOND), CATALOGUE)
    assert [column.metric for column in found.columns] == list(CATALOGUE)
    assert [column.metric for column in found.columns if column.values[0] is not None] == list(EVERY_SAMPLE)
