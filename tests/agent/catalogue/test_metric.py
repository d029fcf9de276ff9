"""What the catalogue promises of every metric."""

import pytest
from gpufleet_agent.catalogue import BY_NAME, METRICS, RESERVED, Cadence, Kind, Metric, Reason, Rollup, Unit
from hypothesis import given
from hypothesis import strategies as st

metrics = st.sampled_from(METRICS)
each = pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)


@given(metrics, st.data())
def test_a_stored_integer_comes_back(metric: Metric, data: st.DataObject) -> None:
    """Every valid stored integer survives the way to its unit and back."""
    bound = min(metric.highest, 1 << 50)
    stored = data.draw(st.integers(max(metric.lowest + RESERVED, -bound), bound))
    value = metric.value(stored)
    assert value is not None
    assert metric.store(value) == stored
    assert metric.reason(stored) is None


@given(metrics, st.sampled_from(Reason))
def test_an_absent_value_keeps_its_reason(metric: Metric, reason: Reason) -> None:
    """An absent value is None with the reason it was stored with."""
    stored = metric.absent(reason)
    assert metric.value(stored) is None
    assert metric.reason(stored) is reason


@given(metrics, st.floats() | st.integers())
def test_no_value_is_taken_for_another(metric: Metric, value: float) -> None:
    """Whatever the driver says is stored within half a step, or as implausible."""
    stored = metric.store(value)
    back = metric.value(stored)
    if back is None:
        assert metric.reason(stored) is Reason.IMPLAUSIBLE
    else:
        assert abs(back - value) <= float(metric.step) / 2 + abs(value) * 1e-9


@each
def test_it_is_described(metric: Metric) -> None:
    """Help is one sentence and the name is a plain identifier that no other metric has."""
    assert metric.help.endswith(".")
    assert metric.name.isidentifier()
    assert metric.name == metric.name.lower()
    assert BY_NAME[metric.name] is metric


@each
def test_its_kind_fits_its_rollup(metric: Metric) -> None:
    """Increments are summed, states are not averaged, flags have names."""
    assert (metric.kind is Kind.INCREMENT) == (metric.rollup is Rollup.SUM)
    assert metric.kind is not Kind.STATE or metric.rollup is not Rollup.MEAN
    assert bool(metric.flags) == (metric.unit is Unit.FLAGS)
    assert metric.cadence is Cadence.EVERY_SAMPLE or metric.kind is Kind.STATE


def test_flags_are_named() -> None:
    """Known bits get their names, unknown ones their number."""
    reasons = BY_NAME["clock_event_reasons"]
    assert reasons.flag_names(0x44) == ["software power cap", "hardware thermal slowdown"]
    assert reasons.flag_names(1 << 20) == ["bit 20"]
    assert reasons.flag_names(0) == []
    assert reasons.flag_names(reasons.absent(Reason.FAILED)) == []


def test_tenths_come_out_as_written() -> None:
    """250.3 W is stored in tenths and comes back as 250.3, not as its neighbour."""
    assert BY_NAME["power"].value(BY_NAME["power"].store(250.3)) == 250.3


def test_a_reserved_code_without_meaning_is_an_error() -> None:
    """A code that no reason has is refused, not guessed."""
    power = BY_NAME["power"]
    with pytest.raises(ValueError, match="15"):
        power.reason(power.lowest + RESERVED - 1)
