"""Columns become rows without losing, moving or inventing a value."""

import numpy as np
import pytest
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, RESERVED, Metric, Reason, Unit
from gpufleet_agent.wire import Samples, pack, unpack
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest.columns import PRESENT, block, check_stored
from hypothesis import given
from hypothesis import strategies as st


def _integers(metric: Metric) -> st.SearchStrategy[int]:
    least = metric.lowest + RESERVED if metric.unit is Unit.CELSIUS else 0
    return st.integers(least, metric.highest) | st.sampled_from([metric.absent(reason) for reason in Reason])


@st.composite
def _samples(draw: st.DrawFn) -> Samples:
    times = sorted(draw(st.sets(st.integers(0, 1 << 60), min_size=1, max_size=4)))
    gpus = [f"GPU-{number}" for number in range(draw(st.integers(1, 3)))]
    columns = {
        metric.name: draw(st.lists(_integers(metric), min_size=(n := len(times) * len(gpus)), max_size=n))
        for metric in draw(st.lists(st.sampled_from(EVERY_SAMPLE), unique=True, max_size=5))
    }
    packed = {name: pack(values, BY_NAME[name].width) for name, values in columns.items()}
    return Samples(gpus=gpus, times=pack(times, 8), durations=pack([1000] * len(times), 4), columns=packed)


@given(samples=_samples(), offset=st.integers(-(10**15), 10**15))
def test_rows_are_what_a_plain_loop_gives(samples: Samples, offset: int) -> None:
    """Every value lands in the row of its GPU and time, absent ones as None, with the reason beside it."""
    made = block(samples, "samples[0]")
    rows = list(made.rows([10 + n for n in range(len(samples.gpus))], offset))
    reasons = made.reasons()
    for t, time in enumerate(unpack(samples.times, 8)):
        for g in range(len(samples.gpus)):
            row = rows[t * len(samples.gpus) + g]
            assert row[:3] == (10 + g, time + offset, 1000)
            for m, metric in enumerate(EVERY_SAMPLE):
                column = samples.columns.get(metric.name)
                at = t * len(samples.gpus) + g
                stored = unpack(column, metric.width)[at] if column else metric.absent(Reason.NOT_OBSERVED)
                reason = metric.reason(stored)
                assert row[3 + m] == (stored if reason is None else None)
                assert reasons[m, t, g] == (PRESENT if reason is None else reason)


def _one(name: str, stored: int) -> Samples:
    columns = {name: pack([0, stored], BY_NAME[name].width)}
    return Samples(gpus=["GPU-a", "GPU-b"], times=pack([1], 8), durations=pack([1], 4), columns=columns)


@pytest.mark.parametrize("metric", EVERY_SAMPLE, ids=lambda metric: metric.name)
def test_codes_without_a_reason_are_refused(metric: Metric) -> None:
    """Room for reasons to come is neither a value nor a reason today; the problem names metric and GPU."""
    with pytest.raises(Problem) as caught:
        block(_one(metric.name, metric.lowest + len(Reason)), "samples[3]")
    assert caught.value.field == f"samples[3].columns.{metric.name}[1]"
    assert "GPU-b" in caught.value.detail


def test_only_temperatures_may_be_negative() -> None:
    """A negative size is refused, a GPU below zero degrees is not."""
    assert block(_one("temperature_margin", -4), "samples[0]").stored.min() < 0
    with pytest.raises(Problem, match="negative"):
        block(_one("fb_used", -4), "samples[0]")


@pytest.mark.parametrize("stored", [-1, 1 << 15, BY_NAME["remap_failed"].lowest + RESERVED - 1, -(1 << 40)])
def test_a_state_must_fit_its_metric(stored: int) -> None:
    """Out of width, negative or without a meaning: refused."""
    with pytest.raises(Problem, match="remap_failed"):
        check_stored(BY_NAME["remap_failed"], stored, "states[0].stored")


def test_the_widest_counters_do_not_wrap() -> None:
    """Values near the ends of int64 stay what they are."""
    metric = BY_NAME["nvlink_tx_bytes"]
    made = block(_one(metric.name, metric.highest), "samples[0]")
    assert not made.absent[EVERY_SAMPLE.index(metric)].any()
    assert np.int64(metric.highest) in made.stored
