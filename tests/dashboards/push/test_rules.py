"""Alert rules: lengths of time and what Grafana fills in are no difference."""

from typing import Any

import pytest
from gpufleet_dashboards.push.rules import told
from hypothesis import given
from hypothesis import strategies as st

from tests.dashboards.push.pushing import rule


def _sent(**more: Any) -> dict[str, Any]:
    found = rule("gpu_hot", **more)
    found["keep_firing_for"] = found.pop("keepFiringFor")
    return found


@pytest.mark.parametrize("length", ["90s", "1m30s", "90000ms", 90])
def test_lengths_are_told_by_their_seconds(length: str | int) -> None:
    """However they are written."""
    assert told(_sent(**{"for": length}))["for"] == 90


@given(st.integers(0, 10**6))
def test_any_length(seconds: int) -> None:
    """As Grafana writes it: days, hours, minutes, seconds."""
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    assert told(_sent(**{"for": f"{hours}h{minutes}m{rest}s"}))["for"] == seconds


def test_what_grafana_fills_in_is_no_difference() -> None:
    """Ids, times, intervals of queries."""
    filled = _sent(id=7, updated="2026-11-22T10:00:00Z", orgID=1, isPaused=False, record=None)
    filled["data"] = [
        {**each, "queryType": "", "model": {**each["model"], "intervalMs": 1000, "maxDataPoints": 43200}}
        for each in filled["data"]
    ]
    assert told(filled) == told(_sent())


@pytest.mark.parametrize(
    "change",
    [
        {"for": "1m"},
        {"isPaused": True},
        {"labels": {}},
        {"annotations": {"summary": "other"}},
        {"condition": "A"},
        {"noDataState": "NoData"},
        {"data": []},
    ],
)
def test_what_people_change_is_one(change: dict[str, Any]) -> None:
    """Each thing that a rule says."""
    assert told(_sent(**change)) != told(_sent())
