"""Points are taken from the coarsest tier that answers as well as the samples, each hour once."""

from collections.abc import Sequence

import numpy as np
import pytest
from gpufleet_agent.catalogue import BY_NAME, Reason, Rollup
from gpufleet_server.queries import points, rollup
from gpufleet_server.queries.buckets import Grid
from gpufleet_server.store import blocks, rollups
from gpufleet_server.store.blocks import Block
from gpufleet_server.store.engine import Store
from gpufleet_server.store.partitions import make_ahead
from gpufleet_server.store.tiers import DAILY, DAY, HOUR, HOURLY, SEALED, due
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, insert

from tests.server.fleet import NOW, SECOND, Fleet
from tests.server.queries.planes import put
from tests.server.queries.rolled import Bucket, of_buckets

BEGIN = NOW // DAY * DAY
NAMES = ["gpu_utilization", "energy", "gpu_temperature", "temperature_margin", "clock_event_reasons"]
METRICS = [BY_NAME[name] for name in NAMES]
EVERY = 600 * SECOND


def samples(seed: int, hours: int) -> Block:
    """Of two GPUs every ten minutes, with gaps and absent values."""
    chance = np.random.default_rng(seed)
    times = BEGIN + np.arange(1, hours * HOUR // EVERY + 1) * EVERY
    shape = (len(times), 2)
    durations = np.where(chance.random(shape) < 0.8, chance.integers(1, 600_000, shape), 0)
    columns = {}
    for metric in METRICS:
        absent = metric.absent(Reason.FAILED)
        values = np.where(chance.random(shape) < 0.8, chance.integers(0, 10_000, shape), absent)
        columns[metric.name] = np.where(durations > 0, values, metric.absent(Reason.NOT_OBSERVED))
    return Block(np.array([0, 1]), times, durations, columns)


def store_hours(store: Store, every: Block, hours: Sequence[int], *, keep: bool = True, roll: bool = True) -> None:
    """Put these hours of the samples into the tiers as upkeep does; those that are not to be kept only as points."""
    parts = [blocks.cut(every, BEGIN + hour * HOUR, BEGIN + (hour + 1) * HOUR) for hour in hours]
    for part in parts if keep else []:
        put(store, SEALED, 1, part)
    if roll:
        with store.writing() as connection:
            make_ahead(connection, BEGIN + 2 * DAY)
            for hour, part in zip(hours, parts, strict=True):
                rollups.put(connection, HOURLY, {1: rollups.point(part, BEGIN + (hour + 1) * HOUR)})


def rolled(store: Store, grid: Grid, slot: int) -> dict[int, Bucket]:
    """What the store's points say of a GPU."""
    with store.reading() as connection:
        block = points.points(connection, 1, NAMES, grid.start, grid.end, grid.step)
    return of_buckets(rollup.of_slot(block, slot), grid, METRICS)


def same(found: dict[int, Bucket], expected: dict[int, Bucket]) -> None:
    """Exactly the same but for means, which points round to a step each."""
    assert found.keys() == expected.keys()
    for number, bucket in found.items():
        assert bucket.observed == expected[number].observed
        for metric in METRICS:
            value, wanted = bucket.values[metric.name], expected[number].values[metric.name]
            assert (value is None) == (wanted is None)
            if metric.rollup is not Rollup.MEAN:
                assert value == wanted, metric.name


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=15)
@given(st.integers(0, 1 << 32), st.sampled_from([1, 2, 24]), st.integers(0, 9), st.integers(40, 52), st.data())
def test_points_are_as_good_as_samples(
    store: Store, seed: int, step: int, start: int, end: int, data: st.DataObject
) -> None:
    """Whichever hours are rolled up, sums, extremes and flags over whole hours are those of the samples."""
    every = samples(seed, 52)
    rolled_up = sorted(data.draw(st.sets(st.integers(0, 51))))
    with store.writing() as connection:
        for tier in (SEALED, HOURLY, DAILY):
            connection.execute(delete(tier.table))
    store_hours(store, every, rolled_up)
    store_hours(store, every, sorted(set(range(52)) - set(rolled_up)), roll=False)
    grid = Grid(BEGIN + start * HOUR, BEGIN + end * HOUR, step * HOUR)
    inside = blocks.cut(every, grid.start, grid.end)
    for slot in (0, 1):
        same(rolled(store, grid, slot), of_buckets(rollup.of_slot(inside, slot), grid, METRICS))


def test_a_mean_of_points_is_weighted_by_what_was_observed(store: Store) -> None:
    """As close to that of the samples as the metric's step, where nothing is absent."""
    every = samples(7, 24)
    every.columns["gpu_utilization"][:] = np.maximum(every.columns["gpu_utilization"], 0)
    store_hours(store, every, range(24))
    grid = Grid(BEGIN, BEGIN + DAY, 12 * HOUR)
    expected = of_buckets(rollup.of_slot(every, 1), grid, METRICS)
    for number, bucket in rolled(store, grid, 1).items():
        assert bucket.values["gpu_utilization"] == pytest.approx(expected[number].values["gpu_utilization"], abs=0.01)


def test_cut_hours_are_read_from_samples(store: Store) -> None:
    """A range that begins and ends within hours holds just its samples."""
    every = samples(1, 6)
    store_hours(store, every, range(6))
    grid = Grid(BEGIN + HOUR // 2, BEGIN + 4 * HOUR + HOUR // 3, HOUR)
    inside = blocks.cut(every, grid.start, grid.end)
    same(rolled(store, grid, 0), of_buckets(rollup.of_slot(inside, 0), grid, METRICS))


def test_late_samples_count_before_they_are_rolled_up(store: Store, fleet: Fleet) -> None:
    """An hour to which a late sample came is read from its samples."""
    gpu = fleet.gpu(fleet.node("a"), "GPU-1")
    store_hours(store, samples(2, 3), range(3))
    before = rolled(store, Grid(BEGIN, BEGIN + 3 * HOUR, HOUR), 0)
    fleet.sample(gpu, ts=BEGIN + HOUR + 17, duration=1000, energy=5_000_000)
    after = rolled(store, Grid(BEGIN, BEGIN + 3 * HOUR, HOUR), 0)
    assert after[1].observed == before[1].observed + 1000
    assert after[1].values["energy"] == pytest.approx((before[1].values["energy"] or 0) + 5000)
    assert (after[0], after[2]) == (before[0], before[2])


def test_coarser_points_stand_for_samples_that_are_gone(store: Store) -> None:
    """At a fine step each hour that is gone has its point in the bucket that it ends in, and a gone day one."""
    every = samples(3, 48)
    store_hours(store, every, range(24, 46), keep=False)
    store_hours(store, every, [46, 47])
    with store.writing() as connection:
        make_ahead(connection, BEGIN)
        day = rollups.point(blocks.cut(every, BEGIN, BEGIN + DAY), BEGIN + DAY)
        rollups.put(connection, DAILY, {1: day})
    grid = Grid(BEGIN, BEGIN + 48 * HOUR, HOUR // 2)
    found = rolled(store, grid, 0)
    last = blocks.cut(every, BEGIN + 46 * HOUR, BEGIN + 48 * HOUR)
    fine = of_buckets(rollup.of_slot(last, 0), grid, METRICS)
    assert {number for number in found if number < 92} == {47, *range(49, 92, 2)}
    assert found[47].observed == int(day.durations[0, 0])
    same({number: bucket for number, bucket in found.items() if number >= 92}, fine)


def test_a_day_that_is_due_is_read_by_the_hour(store: Store) -> None:
    """What is still to be rolled up again is not believed."""
    every = samples(4, 24)
    store_hours(store, every, range(24))
    wrong = rollups.point(blocks.cut(every, BEGIN, BEGIN + HOUR), BEGIN + DAY)
    with store.writing() as connection:
        make_ahead(connection, BEGIN)
        rollups.put(connection, DAILY, {1: wrong})
        connection.execute(insert(due).values(kind="day", node_id=1, at=BEGIN))
    grid = Grid(BEGIN, BEGIN + DAY, DAY)
    same(rolled(store, grid, 1), of_buckets(rollup.of_slot(every, 1), grid, METRICS))
    with store.writing() as connection:
        connection.execute(delete(due))
    assert rolled(store, grid, 1)[0].observed == int(wrong.durations[0, 1])


def test_an_endless_range_costs_nothing(store: Store) -> None:
    """Thousands of years without samples are no work."""
    assert rolled(store, Grid(-(10**16), 10**17, 366 * DAY), 0) == {}
