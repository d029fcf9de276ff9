"""Nodes: listings, and everything that is known of one."""

from typing import Any

import pytest
from gpufleet_agent.wire import Host
from starlette.testclient import TestClient

from tests.server.api.ask import get, items, pages, refused
from tests.server.fleet import NOW, SECOND, Fleet


def mixed(fleet: Fleet) -> None:
    """Four nodes of two sites and none."""
    one = fleet.node("one", site="x", facts={"hostname": "one", "agent_version": "1", "dmi_serial": "SN-1"})
    fleet.node("two", site="x", last_seen=NOW - 30 * SECOND - 1)
    fleet.node("three", driver_state="absent", driver_detail="no driver")
    fleet.node("four", site="y", simulated=True, last_seen=NOW - 30 * SECOND)
    for number, removed in enumerate((None, None, NOW)):
        fleet.gpu(one, f"GPU-{number}", position=2 - number, removed_at=removed)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["one", "two", "four", "three"]),
        ({"site": ["x"]}, ["one", "two"]),
        ({"node": ["three", "00000000-0000-4000-8000-000000000001"]}, ["one", "three"]),
        ({"state": "not_reporting"}, ["two"]),
        ({"state": ["driver_failed", "reporting"]}, ["one", "four", "three"]),
        ({"simulated": True}, ["four"]),
        ({"q": "O"}, ["one", "two", "four"]),
        ({"q": "sn-1"}, ["one"]),
    ],
)
@pytest.mark.parametrize("limit", [1, 3])
def test_listings(client: TestClient, fleet: Fleet, params: dict[str, Any], expected: list[str], limit: int) -> None:
    """Filters, by site and hostname, page by page."""
    mixed(fleet)
    found = list(pages(client, "/nodes", limit=limit, **params))
    assert [item["hostname"] for page in found for item in page["items"]] == expected
    assert {page["total"] for page in found} == {len(expected)}


def test_a_node_says_how_it_is(client: TestClient, fleet: Fleet) -> None:
    """Driver, clock, backlog and GPUs held now, in seconds and ISO times."""
    node = fleet.node(
        "n",
        driver_state="unresponsive",
        driver_detail="no answer for 12 s",
        driver_since=NOW - 12 * SECOND,
        clock_measured=-1_500_000,
        clock_offset=-1_250_000,
        backlog_reports=3,
        backlog_bytes=4096,
        backlog_dropped=1,
        interval_ms=2500,
        facts={"hostname": "n", "agent_version": "0.1.0", "driver_version": "580.1", "labels": {"rank": "7"}},
    )
    fleet.gpu(node, "GPU-1")
    fleet.gpu(node, "GPU-2", removed_at=NOW)
    (found,) = items(client, "/nodes")
    driver = {"state": "unresponsive", "since": "2026-09-21T14:13:08.000000Z", "detail": "no answer for 12 s"}
    assert found["state"] == "driver_failed"
    assert found["driver"] == driver | {"version": "580.1"}
    assert (found["clock_offset_s"], found["clock_correction_s"], found["interval_s"]) == (-1.5, -1.25, 2.5)
    assert found["backlog"] == {"reports": 3, "bytes": 4096, "dropped": 1}
    assert (found["labels"], found["gpus"]) == ({"rank": "7"}, 1)


def test_one_node_has_all_facts_and_its_gpus(client: TestClient, fleet: Fleet) -> None:
    """Every field of wire.Host is there, null with its reason where absent; removed GPUs are not."""
    mixed(fleet)
    facts = {"hostname": "f", "agent_version": "1", "cpu_threads": 96, "absent": {"dmi_serial": "no permission"}}
    fleet.node("f", facts=facts)
    found = get(client, "/nodes/f")["facts"]
    assert found.keys() == set(Host.__struct_fields__) - {"labels"}
    assert (found["cpu_threads"], found["dmi_serial"], found["kernel"]) == (96, None, None)
    assert found["absent"] == {"dmi_serial": "no permission"}
    assert [gpu["id"] for gpu in get(client, "/nodes/one")["roster"]] == ["GPU-1", "GPU-0"]


def test_names_of_nodes(client: TestClient, fleet: Fleet) -> None:
    """An id or a hostname; a hostname of several is told with their ids, an unknown one is not found."""
    first, second = "00000000-0000-4000-8000-000000000001", "00000000-0000-4000-8000-000000000002"
    fleet.node("twin")
    fleet.node("twin")
    assert get(client, f"/nodes/{second}")["id"] == second
    problem = refused(client, "/nodes/twin", 409)
    assert first in problem["detail"]
    assert second in problem["detail"]
    assert refused(client, "/nodes/none", 404)["field"] == "path.id"
