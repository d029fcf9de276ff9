"""The fleet in one answer, held against a count by hand."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.server.api.ask import get
from tests.server.fleet import NOW, SECOND, Fleet

GIB = 1 << 30
HOUR = 3600 * SECOND


@pytest.fixture
def two_sites(fleet: Fleet) -> None:
    """Two sites: values, gaps, stale samples, a silent node, a hung driver, lost and removed GPUs, a simulated one."""
    one = fleet.node("one", site="east")
    silent = fleet.node("silent", site="east", last_seen=NOW - 31 * SECOND)
    hung = fleet.node("hung", site="west", driver_state="unresponsive", simulated=True)
    nowhere = fleet.node("nowhere")
    add(fleet, one, "GPU-a", "H100", power=1000, gpu_utilization=5000, fb_used=1024)
    add(fleet, one, "GPU-b", "H100", power=2001, gpu_utilization=0, fb_used=None)
    add(fleet, one, "GPU-c", "T4", power=None, gpu_utilization=10_000, fb_used=2048)
    add(fleet, one, "GPU-lost", "T4", {"lost": True}, power=9999, gpu_utilization=9999, fb_used=9999)
    add(fleet, one, "GPU-gone", "T4", {"removed_at": NOW - HOUR}, power=9999, gpu_utilization=9999, fb_used=9999)
    add(fleet, silent, "GPU-s", "H100", power=9999, gpu_utilization=9999, fb_used=9999)
    add(fleet, hung, "GPU-h", "H100", power=9999, gpu_utilization=9999, fb_used=9999)
    add(fleet, nowhere, "GPU-new", None)
    stale = fleet.gpu(nowhere, "GPU-stale", model="H100")
    fleet.sample(stale, ts=NOW - HOUR, power=9999, gpu_utilization=9999, fb_used=9999)


def add(
    fleet: Fleet, node: int, uuid: str, model: str | None, fields: dict[str, Any] | None = None, **values: int | None
) -> None:
    """A GPU of 80 GiB, with a sample if it has values."""
    gpu = fleet.gpu(node, uuid, model=model, memory_total=80 * GIB, **(fields or {}))
    if values:
        fleet.sample(gpu, NOW, 10_000, **values)


@pytest.mark.usefixtures("two_sites")
def test_totals(client: TestClient) -> None:
    """Sums and means are over reporting GPUs with a fresh value, and say over how many."""
    found = get(client, "/summary")
    assert found["time"] == "2026-09-21T14:13:20.000000Z"
    of_nodes = {"reporting": 2, "in_maintenance": 0, "driver_failed": 1, "not_reporting": 1}
    assert found["nodes"] == {"total": 4, "by_state": of_nodes}
    states = {"reporting": 5, "in_maintenance": 0, "lost": 1, "driver_failed": 1, "not_reporting": 1, "removed": 1}
    assert found["gpus"] == {"total": 8, "by_state": states, "simulated": 1}
    assert found["power"] == {"value": pytest.approx(300.1), "unit": "W", "gpus": 2}
    assert found["gpu_utilization"] == {"value": pytest.approx(50), "unit": "%", "gpus": 3}
    memory = {"used": 3 << 20, "total": 160 * GIB, "unit": "B", "gpus": 2, "installed": 7 * 80 * GIB}
    assert found["memory"] == memory


@pytest.mark.usefixtures("two_sites")
def test_parts_add_up(client: TestClient) -> None:
    """Models and sites each make up the whole; unknown ones come last, as null."""
    found = get(client, "/summary")
    assert [part["model"] for part in found["by_model"]] == ["H100", "T4", None]
    assert [part["site"] for part in found["by_site"]] == ["east", "west", None]
    for parts in (found["by_model"], found["by_site"]):
        assert sum(part["gpus"] for part in parts) == found["gpus"]["total"]
        assert sum(part["power"]["gpus"] for part in parts) == found["power"]["gpus"]
        assert sum(part["memory_installed"] for part in parts) == found["memory"]["installed"]
    t4, west = found["by_model"][1], found["by_site"][1]
    assert t4["power"] == {"value": None, "unit": "W", "gpus": 0}
    assert (t4["gpu_utilization"]["value"], t4["memory_used"], t4["memory_total"]) == (100, 2 << 20, 80 * GIB)
    assert (west["gpus"], west["simulated"], west["by_state"]["driver_failed"]) == (1, 1, 1)
    assert (west["memory_used"], west["memory_total"]) == (None, None)


@pytest.mark.usefixtures("two_sites")
def test_a_part_of_the_fleet(client: TestClient) -> None:
    """Filters take several values; a node is of the models that it holds now."""
    east = get(client, "/summary", site="east", model="T4")
    assert (east["gpus"]["total"], east["nodes"]["total"]) == (2, 1)
    both = get(client, "/summary", site=["east", "west"])
    assert (both["gpus"]["total"], both["nodes"]["total"]) == (6, 3)
    assert get(client, "/summary", site="mars")["gpus"]["total"] == 0


def test_events_of_a_day(client: TestClient, fleet: Fleet) -> None:
    """By kind, of the last 24 hours only, in the part of the fleet that is asked for."""
    east, west = fleet.node("e", site="east"), fleet.node("w", site="west")
    gpu = fleet.gpu(east, "GPU-1", model="H100")
    for age in (0, 1, 23, 25):
        fleet.event(east, "xid", NOW - age * HOUR, gpu_id=gpu, code=79)
    fleet.event(west, "driver_failed", NOW - HOUR)
    assert get(client, "/summary")["events_24h"] == {"driver_failed": 1, "xid": 3}
    assert get(client, "/summary", site="west")["events_24h"] == {"driver_failed": 1}
    assert get(client, "/summary", model="H100")["events_24h"] == {"xid": 3}


def test_an_empty_store(client: TestClient) -> None:
    """No fleet is no figures: null rather than 0, and empty lists."""
    found = get(client, "/summary")
    assert (found["gpus"]["total"], found["nodes"]["total"]) == (0, 0)
    assert (found["power"]["value"], found["gpu_utilization"]["value"], found["memory"]["used"]) == (None, None, None)
    assert (found["by_model"], found["by_site"], found["events_24h"]) == ([], [], {})
