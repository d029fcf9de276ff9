"""The fleet over time, its use, its quantiles, and a node's GPUs at once: what the parameters mean."""

from typing import Any

import numpy as np
import pytest
from gpufleet_server.domain.use import Use
from gpufleet_server.store.engine import Store
from starlette.testclient import TestClient

from tests.server.api.ask import get, items, refused
from tests.server.fleet import NOW, SECOND, Fleet
from tests.server.queries.test_fleet_history import MINUTE, minute

END = NOW // MINUTE * MINUTE


@pytest.fixture
def ten_minutes(store: Store) -> None:
    """Four GPUs at 600 W, of which one is held, for the last ten minutes."""
    for n in range(10):
        minute(store, END - n * MINUTE, "east", Use.ACTIVE, 3, power=600, energy=36_000)
        minute(store, END - n * MINUTE, "east", Use.HELD, 1, power=600, energy=36_000)


@pytest.mark.usefixtures("ten_minutes")
def test_history(client: TestClient, fleet: Fleet) -> None:
    """Times are beginnings in ISO 8601; the unit and the way of rolling up stand beside the values."""
    node = fleet.node("a", site="east")
    for number in range(8):
        fleet.gpu(node, f"GPU-{number}")
    found = get(client, "/fleet/history", metric="energy", by="site", start=(END - 10 * MINUTE) / SECOND, step="5m")
    assert found["times"] == [
        "2026-09-21T14:00:00.000000Z",
        "2026-09-21T14:05:00.000000Z",
        "2026-09-21T14:10:00.000000Z",
    ]
    assert (found["unit"], found["rollup"], found["step_s"], found["by"]) == ("J", "sum", 300, "site")
    (east,) = found["parts"]
    assert east["name"] == "east"
    assert sum(east["values"]) == 10 * 4 * 36_000
    assert east["coverage"][1] == found["coverage"][1] == 0.5
    by_use = get(client, "/fleet/history", metric="power", by="use", start=(END - 10 * MINUTE) / SECOND)
    assert {part["name"]: part["coverage"][0] for part in by_use["parts"]} == {"active": None, "held": None}


@pytest.mark.usefixtures("ten_minutes")
def test_use(client: TestClient) -> None:
    """GPU-hours by use, with the hours of all GPUs beside them."""
    found = get(client, "/fleet/use", start=(END - 30 * MINUTE) / SECOND)
    (whole,) = found["parts"]
    assert whole["name"] is None
    assert whole["gpu_hours"] == {"active": 0.5, "held": pytest.approx(1 / 6), "free": 0, "unknown": 0}
    assert get(client, "/fleet/use", site="mars")["parts"] == [
        {"name": None, "gpu_hours": dict.fromkeys(("active", "held", "free", "unknown"), 0), "owned_gpu_hours": 0}
        | {"coverage": None, "simulated": None}
    ]


@pytest.mark.usefixtures("ten_minutes")
def test_what_is_to_come(client: TestClient, fleet: Fleet) -> None:
    """Of a time that has not begun there is nothing: no steps, no hours."""
    fleet.gpu(fleet.node("a", site="east"), "GPU-1")
    given = {"start": NOW // SECOND + 3600, "end": NOW // SECOND + 7200}
    steps, used = get(client, "/fleet/history", metric="power", **given), get(client, "/fleet/use", **given)
    assert (steps["times"], steps["start"] <= steps["end"]) == ([], True)
    assert (used["parts"][0]["owned_gpu_hours"], used["parts"][0]["coverage"]) == (0, None)
    assert used["start"] == used["end"]


@pytest.mark.usefixtures("ten_minutes")
def test_what_is_simulated_is_told(client: TestClient, store: Store) -> None:
    """As a share of what was observed, of each part and of all."""
    minute(store, END, "east", Use.FREE, 10, simulated=True)
    for path in ("/fleet/history", "/fleet/use"):
        given = {"start": (END - 10 * MINUTE) / SECOND, "by": "site"} | (
            {"metric": "power"} if path.endswith("history") else {}
        )
        assert get(client, path, **given)["parts"][0]["simulated"] == pytest.approx(0.2)
    whole = get(client, "/fleet/history", metric="power", start=(END - 10 * MINUTE) / SECOND)
    assert whole["simulated"] == pytest.approx(0.2)


def test_quantiles(client: TestClient, fleet: Fleet) -> None:
    """The default ones, by model, over how many of how many, of which some are simulated."""
    node, other = fleet.node("a"), fleet.node("b", simulated=True)
    for number, value in enumerate((*range(30, 130), None)):
        gpu = fleet.gpu(other if number < 25 else node, f"GPU-{number}", model="H100")
        fleet.sample(gpu, gpu_temperature=value)
    found = get(client, "/fleet/quantiles", metric="gpu_temperature", by="model")
    assert (found["q"], found["unit"]) == ([0.5, 0.95, 0.99], "°C")
    part = {"name": "H100", "values": [79, 124, 128], "gpus": 100, "simulated": 0.25, "owned": 101}
    assert found["parts"] == [part | {"coverage": pytest.approx(100 / 101)}]


def test_gpus_by_use(client: TestClient, fleet: Fleet) -> None:
    """Held ones with other filters, and orders, and pages."""
    for site in ("east", "west"):
        node = fleet.node(site, site=site)
        for number, busy in enumerate((0, 0, 9000)):
            gpu = fleet.gpu(node, f"GPU-{site}-{number}", position=number)
            fleet.sample(gpu, gpu_utilization=busy, compute_processes=1, power=number)
    held = items(client, "/gpus", use="held", limit=1)
    assert [item["id"] for item in held] == ["GPU-east-0", "GPU-east-1", "GPU-west-0", "GPU-west-1"]
    assert get(client, "/gpus", use=["held", "active"])["total"] == 6
    west = get(client, "/gpus", use="held", site="west", sort="-power")
    assert ([item["id"] for item in west["items"]], west["total"]) == (["GPU-west-1", "GPU-west-0"], 2)
    assert get(client, "/gpus", use="held", node="east", q="GPU-east-1")["total"] == 1


def test_a_nodes_samples(client: TestClient, fleet: Fleet) -> None:
    """Every GPU that it holds, by index, at the same steps."""
    node = fleet.node("a")
    for number in (1, 0):
        gpu = fleet.gpu(node, f"GPU-{number}", position=number)
        for age in range(6):
            fleet.sample(gpu, NOW - age * 10 * SECOND, power=1000 * (number + 1))
    fleet.gpu(node, "GPU-gone", removed_at=NOW)
    found = get(client, "/nodes/a/samples", start=NOW // SECOND - 80, step=20, metrics="power")
    assert [(part["gpu"], part["index"]) for part in found["gpus"]] == [("GPU-0", 0), ("GPU-1", 1)]
    one = get(client, "/gpus/GPU-1/samples", start=NOW // SECOND - 80, step=20, metrics="power")
    part: dict[str, Any] = found["gpus"][1]
    assert (found["times"], part["coverage"], part["metrics"]) == (one["times"], one["coverage"], one["metrics"])
    assert np.count_nonzero(part["coverage"]) == 3
    refused(client, "/nodes/nowhere/samples", 404)


def test_a_nodes_samples_are_bounded(client: TestClient, fleet: Fleet) -> None:
    """What would fill the server's memory is refused, however many GPUs a node has."""
    node = fleet.node("a")
    for number in range(8):
        fleet.gpu(node, f"GPU-{number}", position=number)
    given = {"start": NOW // SECOND - 10_800, "step": 1}
    assert "values are more than 2000000" in refused(client, "/nodes/a/samples", **given)["detail"]
    assert len(get(client, "/nodes/a/samples", metrics="power", **given)["times"]) == 10_800


@pytest.mark.parametrize(
    ("path", "field", "params"),
    [
        ("/fleet/history", "query.metric", {}),
        ("/fleet/history", "query.metric", {"metric": "powr"}),
        ("/fleet/history", "query.metric", {"metric": "pcie_replays"}),
        ("/fleet/history", "query.step", {"metric": "power", "step": "90s"}),
        ("/fleet/history", "query.step", {"metric": "power", "step": "often"}),
        ("/fleet/history", "query.by", {"metric": "power", "by": "rack"}),
        ("/fleet/history", "query.start", {"metric": "power", "start": NOW // SECOND + 60}),
        ("/fleet/use", "query.by", {"by": "use"}),
        ("/fleet/quantiles", "query.q.0", {"metric": "power", "q": "95"}),
        ("/fleet/quantiles", "query.metric", {"metric": "energy"}),
        ("/gpus", "query.use.0", {"use": "idle"}),
    ],
)
def test_what_cannot_be_is_named(client: TestClient, path: str, field: str, params: dict[str, Any]) -> None:
    """The parameter at fault is in the answer."""
    assert refused(client, path, **params)["field"] == field
