"""An hour's point of each GPU from its samples, a day's from its hours."""

from fractions import Fraction
from math import floor

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, Reason, Rollup
from gpufleet_server.store.blocks import Block, from_planes, to_planes
from gpufleet_server.store.engine import Store
from gpufleet_server.store.rollups import AFTER_DAY, point, roll_days
from gpufleet_server.store.seal import seal_until
from gpufleet_server.store.tiers import DAILY, HOUR, HOURLY, USES, due
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from tests.server.fleet import Fleet
from tests.server.store.sampled import MIDNIGHT, Sent, absent, add, gpu, held, hours, uses

_DAY = hours(24)


@st.composite
def _blocks(draw: st.DrawFn) -> Block:
    """Samples of some GPUs of every metric, absent values and GPUs without a sample at a time among them."""
    n, gpus = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    chance = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    durations = chance.integers(0, 3, (n, gpus)) * chance.integers(1, 60_000, (n, gpus))
    columns = {}
    for metric in EVERY_SAMPLE:
        values = chance.integers(0, metric.highest, (n, gpus), endpoint=True)
        reasons = metric.lowest + chance.integers(0, len(Reason), (n, gpus))
        missing = metric.absent(Reason.NOT_OBSERVED)
        columns[metric.name] = np.where(
            durations == 0, missing, np.where(chance.random((n, gpus)) < 0.4, reasons, values)
        )
    return Block(np.arange(gpus), np.arange(1, n + 1), durations, columns)


def _expected(name: str, values: list[int], durations: list[int]) -> int:
    """One GPU's rollup, as the catalogue says it."""
    metric = BY_NAME[name]
    seen = [(value, ms) for value, ms in zip(values, durations, strict=True) if ms]
    there = [(value, ms) for value, ms in seen if metric.reason(value) is None]
    if not there:
        return seen[-1][0] if seen else metric.absent(Reason.NOT_OBSERVED)
    match metric.rollup:
        case Rollup.MEAN:
            return floor(Fraction(sum(v * ms for v, ms in there), sum(ms for _, ms in there)) + Fraction(1, 2))
        case Rollup.SUM:
            total = sum(value for value, _ in there)
            return total if total <= 1 << 62 else metric.absent(Reason.IMPLAUSIBLE)
        case Rollup.MAX:
            return max(there)[0]
        case Rollup.MIN:
            return min(there)[0]
        case Rollup.ANY:
            return int(np.bitwise_or.reduce([value for value, _ in there]))
        case Rollup.LAST:
            return there[-1][0]


@given(block=_blocks())
def test_a_point_is_what_the_catalogue_says(block: Block) -> None:
    """Of every metric, for every GPU; what no sample had a value of is absent for the reason of the last one."""
    found = point(block, 99)
    assert found.times.tolist() == [99]
    assert found.durations[0].tolist() == block.durations.sum(axis=0).tolist()
    for g in range(len(block.slots)):
        durations = block.durations[:, g].tolist()
        for name, values in block.columns.items():
            # Half of 2^62 more or less is within what floats are used for.
            assert int(found.columns[name][0, g]) == _expected(name, values[:, g].tolist(), durations), name


def test_samples_that_overlap_without_end_still_make_a_point() -> None:
    """An agent that claims an hour for each of its samples is told as much as fits, and its means stay means."""
    n = 700
    durations = np.full((n, 1), HOUR // 1000)
    block = Block(np.array([0]), np.arange(1, n + 1), durations, {"power": np.full((n, 1), 70)})
    day = point(point(block, HOUR), _DAY)
    row = dict.fromkeys(HOURLY.table.c.keys()) | to_planes(day, HOURLY)
    read = from_planes(row, HOURLY, ("power", *USES))
    assert read.durations.tolist() == [[(1 << 31) - 1]]
    assert {name: values.tolist() for name, values in read.columns.items()} == {
        "power": [[70]],
        "active": [[0]],
        "held": [[0]],
        "unknown": [[(1 << 31) - 1]],
    }


def test_a_point_says_how_long_a_gpu_was_used() -> None:
    """ms active, held and unknown; the rest of what was observed it was free. Of points they are added."""
    columns = {"gpu_utilization": [5000, 0, 0, absent("gpu_utilization")], "compute_processes": [1, 1, 0, 0]}
    block = Block(
        np.array([0]),
        np.arange(4),
        np.array([[1000], [200], [30], [4]]),
        {name: np.array(values)[:, np.newaxis] for name, values in columns.items()},
    )
    one = point(block, 10)
    assert [int(one.columns[use][0, 0]) for use in ("active", "held", "unknown")] == [1000, 200, 4]
    assert [int(point(one, 20).columns[use][0, 0]) for use in ("active", "held", "unknown")] == [1000, 200, 4]


def test_a_day_is_rolled_up_once_it_is_over(store: Store, fleet: Fleet) -> None:
    """From its hours, by their durations; also again when something of it came late."""
    node_id = fleet.node("alpha")
    add(store, *gpu(node_id, 0, [(MIDNIGHT + hours(1), 10)], 1000), *gpu(node_id, 0, [(MIDNIGHT + _DAY, 20)], 3000))
    seal_until(store, MIDNIGHT + _DAY)
    assert roll_days(store, MIDNIGHT + _DAY + AFTER_DAY - 1) == 0
    assert not held(store, DAILY)
    assert roll_days(store, MIDNIGHT + _DAY + AFTER_DAY) == 1
    assert held(store, DAILY, ("power",)) == {(node_id, MIDNIGHT + _DAY, 0): (4000, 18)}
    add(store, Sent(node_id, [0], [MIDNIGHT + hours(5)], {"power": [100]}, [4000]))
    seal_until(store, MIDNIGHT + _DAY)
    assert roll_days(store, MIDNIGHT + 2 * _DAY) == 1
    assert held(store, DAILY, ("power",)) == {(node_id, MIDNIGHT + _DAY, 0): (8000, 59)}
    with store.reading() as connection:
        assert connection.execute(select(due)).all() == []


def test_days_and_nodes_that_have_nothing_to_do_with_each_other(store: Store, fleet: Fleet) -> None:
    """Each day's point lies at its end, in its node's row; energy outgrows the width of a sample's."""
    one, two = fleet.node("alpha"), fleet.node("beta")
    most = BY_NAME["energy"].highest
    for node_id, day in ((one, 0), (one, 1), (one, 40), (two, 1)):
        ends = [MIDNIGHT + day * _DAY + hours(n) for n in (1, 2, 3)]
        add(store, *(Sent(node_id, [2], [ts], {"energy": [most]}) for ts in ends))
    seal_until(store, MIDNIGHT + 50 * _DAY)
    assert roll_days(store, MIDNIGHT + 50 * _DAY) == 4
    days = [(one, 1), (one, 2), (one, 41), (two, 2)]
    expected = {(node_id, MIDNIGHT + day * _DAY, 2): (30_000, 3 * most) for node_id, day in days}
    assert held(store, DAILY, ("energy",)) == expected
    assert {observed for observed, *_ in uses(store, HOURLY).values()} == {10_000}
    assert len(held(store, HOURLY)) == 12
    assert all(time % HOUR == 0 for _, time, _ in held(store, HOURLY))
