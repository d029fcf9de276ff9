"""A node whose agent was told to let go of the driver: in maintenance, and nothing worse."""

import pytest
from starlette.testclient import TestClient

from tests.server.api.ask import get
from tests.server.fleet import NOW, SECOND, Fleet

HOUR = 3600 * SECOND


@pytest.fixture
def paused(fleet: Fleet) -> None:
    """A node in maintenance with a GPU that was lost before, one that was paused and is silent, one that is well."""
    paused = {"driver_state": "paused", "driver_since": NOW - HOUR, "driver_detail": "driver update"}
    here, gone = fleet.node("here", **paused), fleet.node("gone", last_seen=NOW - HOUR, **paused)
    for number, of in enumerate((here, here, gone, fleet.node("well"))):
        gpu = fleet.gpu(of, f"GPU-{number}", model="H100", lost=number == 1)
        fleet.sample(gpu, NOW - (0 if number == 3 else HOUR), power=1000, gpu_utilization=5000, compute_processes=1)


@pytest.mark.usefixtures("paused")
def test_it_is_counted_as_that(client: TestClient) -> None:
    """Neither lost nor failed, and of what it did last nothing is added up; one that fell silent does not report."""
    found = get(client, "/summary")
    assert found["nodes"]["by_state"] == {"reporting": 1, "in_maintenance": 1, "driver_failed": 0, "not_reporting": 1}
    states = {"reporting": 1, "in_maintenance": 2, "lost": 0, "driver_failed": 0, "not_reporting": 1, "removed": 0}
    assert found["gpus"]["by_state"] == states
    assert found["power"]["gpus"] == 1


@pytest.mark.usefixtures("paused")
def test_it_can_be_asked_for(client: TestClient) -> None:
    """By state; with since when and why, and when each GPU was seen last. What its GPUs are used for nobody knows."""
    (node,) = get(client, "/nodes", state="in_maintenance")["items"]
    driver = node["driver"]
    assert (node["hostname"], driver["state"], driver["detail"]) == ("here", "paused", "driver update")
    assert driver["since"] == "2026-09-21T13:13:20.000000Z"
    gpus = get(client, "/gpus", state="in_maintenance")["items"]
    assert [(gpu["id"], gpu["at"]) for gpu in gpus] == [(f"GPU-{n}", driver["since"]) for n in (0, 1)]
    for use in ("active", "held", "free", "unknown"):
        assert [gpu["id"] for gpu in get(client, "/gpus", use=use)["items"]] == (["GPU-3"] if use == "active" else [])


@pytest.mark.usefixtures("paused")
def test_it_stands_next_to_those_that_are_well(client: TestClient) -> None:
    """In the order by state."""
    states = [gpu["state"] for gpu in get(client, "/gpus", sort="state")["items"]]
    assert states == ["reporting", "in_maintenance", "in_maintenance", "not_reporting"]
