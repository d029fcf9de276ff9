"""Increments of counters that wrap and start again."""

from __future__ import annotations

from gpufleet_agent.backends.nvidia.counters import Counter, rounds
from hypothesis import given
from hypothesis import strategies as st

_GROWTH = st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=50)


def increments(counter: Counter, readings: list[int], most: float = float("inf")) -> list[int]:
    """What the counter says of readings one second apart, the first left out."""
    steps = [counter.advance(reading, float(at), most) for at, reading in enumerate(readings)]
    assert steps[0] is None
    return [step[0] for step in steps[1:] if step is not None]


@given(st.integers(0, 1 << 60), _GROWTH)
def test_a_growing_counter_gives_what_it_grew_by(start: int, growth: list[int]) -> None:
    """Each increment is the difference of two readings, exactly."""
    readings = [start + sum(growth[:n]) for n in range(len(growth) + 1)]
    assert increments(Counter(), readings) == growth


@given(st.integers(0, (1 << 32) - 1), _GROWTH)
def test_a_wrapping_counter_loses_nothing(start: int, growth: list[int]) -> None:
    """At most one round an interval is made whole."""
    readings = [(start + sum(growth[:n])) % (1 << 32) for n in range(len(growth) + 1)]
    assert increments(Counter(32), readings) == growth


@given(st.integers(1, 1 << 62), st.integers(0, 1 << 62))
def test_a_counter_that_went_back_counts_from_zero(before: int, after: int) -> None:
    """A reset of a wide counter gives what it counted since, never less than nothing."""
    if after < before:
        assert increments(Counter(), [before, after]) == [after]


def test_too_large_a_wrap_is_a_reset() -> None:
    """Where the link cannot have carried a whole round, the counter was reset."""
    assert increments(Counter(32), [1000, 200], most=1e9) == [200]
    assert increments(Counter(32), [(1 << 32) - 1000, 200], most=1e9) == [1200]


def test_a_counter_seen_to_be_wide_does_not_wrap_at_32_bits() -> None:
    """One reading beyond the supposed width ends the supposition."""
    assert increments(Counter(32), [1 << 33, (1 << 33) + 5, 7]) == [5, 7]


def test_seconds_span_the_readings_that_failed() -> None:
    """An increment tells over how long it came together."""
    counter = Counter()
    counter.advance(10, 1.0)
    assert counter.advance(40, 4.5) == (30, 3.5)


@given(st.integers(0, (1 << 32) - 1), st.integers(0, 40), st.floats(-0.4, 0.4))
def test_missed_rounds_are_found_by_the_rate(rest: int, missed: int, error: float) -> None:
    """The number of rounds is right if the rate is right to within 0.4 rounds."""
    whole = rest + missed * (1 << 32)
    assert rounds(rest, 32, whole + error * (1 << 32)) == whole
