"""Times that are counted in bounded memory."""

import pytest
from gpufleet_server.simulate.statistics import Latency
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.floats(0.0002, 900), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_quantile_is_near_the_true_one(seconds: list[float], share: float) -> None:
    """At most 7 % above the value that so many are within, never below it."""
    latency = Latency()
    for one in seconds:
        latency.add(one)
    true = next(one for place, one in enumerate(sorted(seconds), 1) if place >= share * len(seconds)) * 1000
    found = latency.quantile(share)
    assert found is not None
    assert true * 0.9999 <= found <= true * 1.0725


def test_a_window_is_what_came_since() -> None:
    """The difference of two copies; there is no quantile of nothing."""
    latency = Latency()
    latency.add(5)
    before = latency.copy()
    assert latency.since(before).quantile(0.5) is None
    latency.add(0.01)
    assert latency.since(before).quantile(0.99) == pytest.approx(10, rel=0.07)
    latency.add(1e9)
    assert sum(latency.counts) == 3
