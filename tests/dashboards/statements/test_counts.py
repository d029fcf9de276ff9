"""Counts of GPUs beside what was observed of them."""

import pytest
from gpufleet_dashboards.statements import counts, fleet


def test_counts_are_read_of_as_long_times_as_rollups() -> None:
    """They are set side by side by when an interval begins."""
    pairs = (fleet.OF_RANGE, counts.OF_RANGE), (fleet.OVER_TIME, counts.OVER_TIME)
    for some, others in pairs:
        assert [(tier.step_ms, tier.below_ms) for tier in some] == [(tier.step_ms, tier.below_ms) for tier in others]


def test_gpus_are_not_counted_by_use() -> None:
    """A use is what was observed: how many there were is known by state alone."""
    with pytest.raises(ValueError, match="not known by use"):
        fleet.over_time(("use",), fleet.OBSERVED, {"coverage": fleet.COVERAGE})
