"""Events: newest first, or followed."""

from typing import Any

import pytest
from starlette.testclient import TestClient

from tests.server.api.ask import get, items, refused
from tests.server.fleet import NOW, SECOND, Fleet


@pytest.fixture
def ids(fleet: Fleet) -> dict[str, int]:
    """Five events; the one that came last happened first."""
    east, west = fleet.node("e", site="east"), fleet.node("w", site="west", simulated=True)
    gpu = fleet.gpu(east, "GPU-1", serial="S1")
    return {
        "a": fleet.event(east, "xid", NOW - 50 * SECOND, gpu_id=gpu, code=79, source="nvml", detail={"pid": 7}),
        "b": fleet.event(west, "driver_failed", NOW - 40 * SECOND, message="gone"),
        "c": fleet.event(east, "xid", NOW - 30 * SECOND, gpu_id=gpu, code=31, partition="MIG-1"),
        "d": fleet.event(east, "xid", NOW - 30 * SECOND, gpu_id=gpu, code=31),
        "late": fleet.event(east, "gpu_lost", NOW - 90 * SECOND, gpu_id=gpu),
    }


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, "d c b a late"),
        ({"order": "oldest"}, "late a b c d"),
        ({"site": "west"}, "b"),
        ({"node": "e", "kind": ["xid", "driver_failed"]}, "d c a"),
        ({"gpu": "S1", "code": [79, 48]}, "a"),
        ({"gpu": "GPU-1"}, "d c a late"),
        ({"since": "2026-09-21T14:12:40Z"}, "d c b"),
        ({"since": "1789999960", "until": 1789999970.0}, "b"),
        ({"until": "2026-09-21T16:12:30+02:00"}, "late"),
    ],
)
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_listings(client: TestClient, ids: dict[str, int], params: dict[str, Any], expected: str, limit: int) -> None:
    """Filters and orders, page by page: since is within, until is not."""
    names = {number: name for name, number in ids.items()}
    assert " ".join(names[item["id"]] for item in items(client, "/events", limit=limit, **params)) == expected


def test_an_event_is_told_whole(client: TestClient, ids: dict[str, int]) -> None:
    """Each column arrives under its name."""
    found = items(client, "/events", code=79)
    assert found == [
        {
            "id": ids["a"],
            "at": "2026-09-21T14:12:30.000000Z",
            "received_at": "2026-09-21T14:12:31.000000Z",
            "kind": "xid",
            "code": 79,
            "gpu": "GPU-1",
            "index": None,
            "node": {"id": "00000000-0000-4000-8000-000000000001", "hostname": "e"},
            "site": "east",
            "partition": None,
            "source": "nvml",
            "message": "",
            "detail": {"pid": 7},
            "simulated": False,
        }
    ]


def test_following_misses_nothing(client: TestClient, fleet: Fleet, ids: dict[str, int]) -> None:
    """From `last_id` on come events in the order of arrival, also one that happened long ago, page by page."""
    begin = get(client, "/events", limit=1)["last_id"]
    assert begin == ids["late"]
    node = fleet.node("n")
    new = [fleet.event(node, "xid", NOW - age * SECOND) for age in (1, 5000, 3)]
    assert [item["id"] for item in items(client, "/events", after=begin, limit=2)] == new
    assert items(client, "/events", after=new[-1]) == []


def test_orders_that_cannot_be(client: TestClient) -> None:
    """`after` has its own order, and a time range begins before it ends."""
    assert refused(client, "/events", after=1, order="newest")["field"] == "query.order"
    problem = refused(client, "/events", since=NOW // SECOND, until="2026-09-21T14:13:20Z")
    assert problem["field"] == "query.since"
    assert get(client, "/events")["last_id"] == 0


def test_detail_is_json(client: TestClient, fleet: Fleet) -> None:
    """No NaN ever leaves: it is null."""
    fleet.event(fleet.node("n"), "odd", detail={"x": float("nan"), "y": float("inf"), "z": 1})
    assert items(client, "/events")[0]["detail"] == {"x": None, "y": None, "z": 1}
