"""Metrics over time, held against a plain count over what was put in."""

import dataclasses
from collections.abc import Iterator

import pytest
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, Metric, Reason, Rollup
from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries import buckets, rollup, series
from gpufleet_server.queries.buckets import Grid
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import metadata, samples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, insert

from tests.server.fleet import NOW, SECOND, Fleet

BEGIN = NOW - NOW % (60 * SECOND)
SAMPLED = ("gpu_utilization", "fb_used", "energy", "gpu_temperature", "temperature_margin", "clock_event_reasons")
LAST = dataclasses.replace(BY_NAME["sm_clock"], rollup=Rollup.LAST)
METRICS = [*(BY_NAME[name] for name in SAMPLED), LAST]

Row = dict[str, int | None]


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    """A database with the tables."""
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.connect() as open_connection:
        yield open_connection
    engine.dispose()


@st.composite
def rows(draw: st.DrawFn) -> list[Row]:
    """Samples at distinct times with gaps in them; flags may have any bit."""
    at = draw(st.lists(st.integers(BEGIN - 200 * SECOND, BEGIN + 500 * SECOND), unique=True, max_size=20))
    found = []
    for ts in at:
        row: Row = {"gpu_id": 1, "ts": ts, "duration": draw(st.integers(0, 90_000))}
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
            weights = [row["duration"] or 1 for row, _ in present]
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


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=80)
@given(rows(), st.integers(1, 200 * SECOND), st.integers(-100 * SECOND, 100 * SECOND), st.integers(1, 400 * SECOND))
def test_rollups_are_what_the_catalogue_says(
    connection: Connection, put: list[Row], step: int, shift: int, span: int
) -> None:
    """For any samples, step and range each bucket holds the rollup of just the samples that ended in it."""
    connection.execute(samples.delete())
    if put:
        connection.execute(insert(samples), put)
    grid = Grid(BEGIN + shift, BEGIN + shift + span, max(step, span // 200))
    found = series.stepped(connection, 1, grid, METRICS)
    assert found.times == [t for t in range(grid.start // grid.step * grid.step, grid.end, grid.step)]  # noqa: C416
    for number, begin in enumerate(found.times):
        first, last = max(begin, grid.start), min(begin + grid.step, grid.end)
        within = [row for row in put if first < (row["ts"] or 0) <= last]
        observed = sum(row["duration"] or 0 for row in within)
        assert found.observed[number] == observed
        assert found.coverage[number] == pytest.approx(min(1, observed * 1000 / (last - first)))
        for column in found.columns:
            value = expected(column.metric, within)
            assert column.values[number] == (None if value is None else pytest.approx(value))
            assert (column.values[number] is None) == (column.reasons[number] is not None)


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
    with store.writing() as connection:
        many = [{"gpu_id": gpu, "ts": BEGIN + n, "duration": 1} for n in range(buckets.MAX_POINTS + 1)]
        connection.execute(insert(samples), many)
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
        found = rollup.of_buckets(connection, gpu, Grid(BEGIN, NOW, 60 * SECOND), EVERY_SAMPLE)
    assert found[0].values.keys() == {metric.name for metric in EVERY_SAMPLE}
    assert None not in found[0].values.values()
