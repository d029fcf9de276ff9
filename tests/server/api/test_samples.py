"""Samples of a GPU: what the parameters mean. The rollups have their own tests."""

from collections.abc import Callable
from typing import Any

import pytest
from gpufleet_agent.catalogue import METRICS
from starlette.testclient import TestClient

from tests.server.api.ask import get, refused
from tests.server.fleet import NOW, SECOND, Fleet

HERE = "/gpus/GPU-1/samples"


@pytest.fixture(autouse=True)
def gpu(fleet: Fleet) -> int:
    """A GPU with five minutes of samples of 10 s: power 100 W, 101 W, …, and energy."""
    made = fleet.gpu(fleet.node("n"), "GPU-1", serial="S1")
    for number in range(30):
        at = NOW - (29 - number) * 10 * SECOND
        fleet.sample(made, at, 10_000, power=1000 + 10 * number, energy=1_000_000 + 10_000 * number)
    return made


def test_without_parameters(client: TestClient) -> None:
    """The last hour of every metric, in at most 300 points, every array as long as the times."""
    found = get(client, HERE)
    assert (found["start"], found["end"]) == ("2026-09-21T13:13:20.000000Z", "2026-09-21T14:13:20.000000Z")
    assert (found["gpu"], found["step_s"], len(found["times"])) == ("GPU-1", 20, 180)
    assert list(found["metrics"]) == [metric.name for metric in METRICS]
    for column in found["metrics"].values():
        assert len(column["values"]) == len(found["times"]) == len(found["coverage"])
        assert len(column.get("reasons", found["times"])) == len(found["times"])
    assert found["coverage"] == [0] * 165 + [1] * 15


def test_at_a_step(client: TestClient) -> None:
    """Steps begin on whole steps of the epoch; a mean, a sum and a coverage for each."""
    found = get(client, "/gpus/S1/samples", start=NOW // SECOND - 90, step="1m", metrics="power,energy")
    assert found["times"] == [f"2026-09-21T14:{minute}:00.000000Z" for minute in (11, 12, 13)]
    # 14:11:50 to 14:12:00 is one sample; then six; then the two that have ended by 14:13:20.
    assert found["coverage"] == [1, 1, 1]
    assert found["observed_s"] == [10, 60, 20]
    assert found["metrics"]["power"]["values"] == pytest.approx([121, 124.5, 128.5])
    assert found["metrics"]["energy"]["values"] == pytest.approx([1210, 7470, 2570])
    assert found["metrics"]["power"].keys() == {"unit", "kind", "rollup", "values"}


def test_raw(client: TestClient) -> None:
    """Each sample by itself, at the end of its interval, in the unit of the metric."""
    found = get(client, HERE, step="raw", start=NOW / SECOND - 25, metrics="power")
    assert found["times"] == [f"2026-09-21T14:13:{second}.000000Z" for second in ("00", "10", "20")]
    assert found["metrics"]["power"]["values"] == [127, 128, 129]
    assert (found["step_s"], found["observed_s"]) == (None, [10, 10, 10])


def test_nothing_is_said_of_the_future(client: TestClient) -> None:
    """A range that goes beyond now ends with now; one that begins there is empty."""
    found = get(client, HERE, start=NOW // SECOND - 30, end=NOW // SECOND + 3600, step=30, metrics="power")
    assert (len(found["times"]), found["coverage"][-1]) == (2, 1)
    later = get(client, HERE, start=NOW // SECOND + 5, end=NOW // SECOND + 9, step=60)
    assert (later["times"], later["coverage"]) == ([], [])


@pytest.mark.parametrize("join", [",".join, list], ids=["commas", "repeated"])
def test_metrics_are_named_either_way(client: TestClient, join: Callable[[list[str]], object]) -> None:
    """With commas or repeated, in the order of the catalogue and each once."""
    found = get(client, HERE, metrics=join(["power", "gpu_utilization", "power"]))
    assert list(found["metrics"]) == ["gpu_utilization", "power"]


@pytest.mark.parametrize(
    ("field", "params"),
    [
        ("query.step", {"step": "1", "start": 0}),
        ("query.step", {"step": "0.5"}),
        ("query.step", {"step": "often"}),
        ("query.step", {"step": "NaN"}),
        ("query.start", {"start": "2026-09-21T14:13:20"}),
        ("query.start", {"start": "NaN"}),
        ("query.end", {"end": "1e400"}),
        ("query.start", {"start": "2026-09-22T00:00:00Z"}),
        ("query.metrics.1", {"metrics": "power,powr"}),
        ("query.strt", {"strt": "0"}),
    ],
)
def test_what_cannot_be_is_named(client: TestClient, field: str, params: dict[str, Any]) -> None:
    """The parameter at fault is in the answer."""
    assert refused(client, HERE, **params)["field"] == field


def test_of_no_gpu(client: TestClient) -> None:
    """An unknown GPU has no samples to show, not empty ones."""
    refused(client, "/gpus/GPU-0/samples", 404)
