"""GPUs: listings, and everything that is known of one."""

import itertools
import time
from typing import Any

import msgspec
import numpy as np
import pytest
from gpufleet_agent.catalogue import EVERY_SAMPLE, METRICS, ON_CHANGE, Kind, Reason
from gpufleet_agent.wire import Gpu, Partition
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import latest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert
from starlette.testclient import TestClient

from tests.server.api.ask import get, items, pages, refused
from tests.server.fleet import NOW, SECOND, Fleet

# Stored integers that no other metric has.
STORED = {metric.name: 1000 + 7 * number for number, metric in enumerate(METRICS)}


def full_identity() -> Gpu:
    """An identity whose every field has a value of its own."""
    numbers = itertools.count(11)
    values: dict[str, Any] = {}
    for field in msgspec.structs.fields(Gpu):
        number, kind = next(numbers), str(field.type)
        values[field.name] = number if "int" in kind else float(number) if "float" in kind else f"text {number}"
    return msgspec.convert(values | {"state": "ok", "partitions": [], "absent": {}}, Gpu)


def test_every_value_and_field_arrives(client: TestClient, fleet: Fleet) -> None:
    """Each metric and identity field is what was put in, under its own name, with its unit and kind."""
    identity = full_identity()
    columns = {name: getattr(identity, name) for name in ("vendor", "model", "serial", "pci_address", "memory_total")}
    gpu = fleet.gpu(
        fleet.node("a", site="s", room="r", rack="k"),
        identity.uuid,
        position=identity.index,
        identity=msgspec.to_builtins(identity),
        **columns,
    )
    fleet.sample(gpu, duration=2000, **{metric.name: STORED[metric.name] for metric in EVERY_SAMPLE})
    for number, metric in enumerate(ON_CHANGE):
        fleet.state(gpu, metric.name, NOW - number * SECOND, STORED[metric.name])
    found = get(client, f"/gpus/{identity.uuid}")
    for metric in METRICS:
        value = found["metrics"][metric.name]
        assert value["stored"] == STORED[metric.name]
        assert value["value"] == pytest.approx(float(STORED[metric.name] * metric.step))
        assert (value["unit"], value["kind"], value["reason"]) == (metric.unit.symbol, metric.kind.value, None)
        assert ("rate" in value) == (metric.kind is Kind.INCREMENT)
    assert found["metrics"]["energy"]["rate"] == pytest.approx(STORED["energy"] / 1000 / 2)
    for field in Gpu.__struct_fields__:
        if field not in ("uuid", "state", "partitions", "absent"):
            assert found[field] == getattr(identity, field), field
    assert (found["id"], found["state"]) == (identity.uuid, "reporting")
    assert [found[name] for name in ("site", "room", "rack")] == ["s", "r", "k"]


def test_gpus_of_different_abilities(client: TestClient, fleet: Fleet) -> None:
    """Side by side: what a GPU can't say is null with its reason, nowhere 0, and beside it another's value."""
    node = fleet.node("a")
    able, old, _ = (fleet.gpu(node, f"GPU-{name}", position=n) for n, name in enumerate(("able", "old", "new")))
    fleet.sample(able, **{metric.name: 5 for metric in EVERY_SAMPLE})
    fleet.sample(old, **{metric.name: metric.absent(Reason.UNSUPPORTED) for metric in EVERY_SAMPLE} | {"power": 5})
    for metric in ON_CHANGE:
        fleet.state(able, metric.name, NOW, 0)
        fleet.state(old, metric.name, NOW, reason=Reason.NO_PERMISSION)
    listed = {item["id"]: item["metrics"] for item in items(client, "/gpus")}
    values = {name: {key: value["value"] for key, value in metrics.items()} for name, metrics in listed.items()}
    assert None not in values["GPU-able"].values()
    assert {name for name, value in values["GPU-old"].items() if value is not None} == {"power"}
    assert set(values["GPU-new"].values()) == {None}
    reasons = {name: {value["reason"] for value in metrics.values()} for name, metrics in listed.items()}
    assert reasons == {"GPU-able": {None}, "GPU-old": {None, "unsupported"}, "GPU-new": {"not observed"}}
    detail = {name: get(client, f"/gpus/GPU-{name}")["metrics"] for name in ("able", "old", "new")}
    for metric in ON_CHANGE:
        assert (detail["able"][metric.name]["value"], detail["able"][metric.name]["reason"]) == (0, None)
        assert (detail["old"][metric.name]["value"], detail["old"][metric.name]["reason"]) == (None, "no permission")
        assert (detail["new"][metric.name]["value"], detail["new"][metric.name]["at"]) == (None, None)
    assert all(value["value"] != 0 for name in ("old", "new") for value in detail[name].values())


def test_absent_identity_has_reasons(client: TestClient, fleet: Fleet) -> None:
    """A field that the driver did not give is null, and `absent` says why."""
    identity = {"uuid": "GPU-1", "vendor": "nvidia", "index": 0, "absent": {"serial": "unsupported"}}
    gpu = fleet.gpu(fleet.node("a"), "GPU-1", identity=identity)
    fleet.partition(gpu, "MIG-1", profile="1g.10gb", memory_total=1 << 30)
    found = get(client, "/gpus/GPU-1")
    assert (found["serial"], found["vbios_version"], found["absent"]) == (None, None, {"serial": "unsupported"})
    assert found["partitions"][0].keys() >= set(Partition.__struct_fields__)
    assert (found["partitions"][0]["profile"], found["partitions"][0]["slices"]) == ("1g.10gb", None)


def test_flags_have_names(client: TestClient, fleet: Fleet) -> None:
    """Throttle reasons are a number and words, in the listing too."""
    fleet.sample(fleet.gpu(fleet.node("a"), "GPU-1"), clock_event_reasons=0x1 | 0x40 | 0x400)
    wanted = ["idle", "hardware thermal slowdown", "bit 10"]
    assert get(client, "/gpus/GPU-1")["metrics"]["clock_event_reasons"]["flags"] == wanted
    assert items(client, "/gpus")[0]["metrics"]["clock_event_reasons"]["flags"] == wanted


def test_a_serial_is_a_name_too(client: TestClient, fleet: Fleet) -> None:
    """Of a GPU that moved, the one where it is now; of a board with two GPUs, neither."""
    first, second = fleet.node("first"), fleet.node("second")
    fleet.gpu(first, "GPU-1", serial="S1", removed_at=NOW - SECOND)
    fleet.gpu(second, "GPU-1", serial="S1")
    fleet.gpu(first, "GPU-2", serial="S2")
    fleet.gpu(first, "GPU-3", serial="S2")
    assert get(client, "/gpus/S1")["node"]["hostname"] == "second"
    assert get(client, "/gpus/GPU-1")["removed_at"] is None
    problem = refused(client, "/gpus/S2", 409)
    assert "GPU-2, GPU-3" in problem["detail"]
    assert refused(client, "/gpus/GPU-9", 404)["field"] == "path.id"


def mixed(fleet: Fleet) -> None:
    """Six GPUs of two sites and no site."""
    a, b, c = fleet.node("alpha", site="x"), fleet.node("beta", site="y", simulated=True), fleet.node("gamma")
    fleet.node("100%_idle", site="x")
    for node, number, fields, power in (
        (a, 0, {"model": "H100", "serial": "17"}, 5),
        (a, 1, {"model": "H100", "serial": "18", "lost": True}, None),
        (a, 2, {"model": "T4", "removed_at": NOW}, 900),
        (b, 0, {"model": "T4"}, 300),
        (b, 10, {"model": "T4"}, None),
        (c, 0, {"model": "H100"}, 100),
    ):
        name = {a: "alpha", b: "beta", c: "gamma"}[node]
        gpu = fleet.gpu(node, f"GPU-{name}-{number}", position=number, **fields)
        fleet.sample(gpu, power=power)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, ["alpha-0", "alpha-1", "beta-0", "beta-10", "gamma-0"]),
        ({"site": "x"}, ["alpha-0", "alpha-1"]),
        ({"site": ["x", "y"], "model": "T4"}, ["beta-0", "beta-10"]),
        ({"node": "beta"}, ["beta-0", "beta-10"]),
        ({"state": "lost"}, ["alpha-1"]),
        ({"state": ["removed", "lost"]}, ["alpha-1", "alpha-2"]),
        ({"simulated": "true"}, ["beta-0", "beta-10"]),
        ({"simulated": "false", "model": "H100"}, ["alpha-0", "alpha-1", "gamma-0"]),
        ({"q": "BET"}, ["beta-0", "beta-10"]),
        ({"q": "gpu-alpha-1"}, ["alpha-1"]),
        ({"q": "beta-1"}, ["beta-10"]),
        ({"q": "18"}, ["alpha-1"]),
        ({"q": "%"}, []),
        ({"sort": "-power"}, ["beta-0", "gamma-0", "alpha-0", "alpha-1", "beta-10"]),
        ({"sort": "power"}, ["alpha-0", "gamma-0", "beta-0", "alpha-1", "beta-10"]),
        ({"sort": "-hostname"}, ["gamma-0", "beta-0", "beta-10", "alpha-0", "alpha-1"]),
        ({"sort": "-state"}, ["alpha-1", "alpha-0", "beta-0", "beta-10", "gamma-0"]),
        ({"sort": "-site"}, ["beta-0", "beta-10", "alpha-0", "alpha-1", "gamma-0"]),
    ],
)
@pytest.mark.parametrize("limit", [1, 100])
def test_listings(client: TestClient, fleet: Fleet, params: dict[str, Any], expected: list[str], limit: int) -> None:
    """Filters and orders, page by page or at once; the total is that of the whole listing."""
    mixed(fleet)
    found = list(pages(client, "/gpus", limit=limit, **params))
    assert [item["id"].removeprefix("GPU-") for page in found for item in page["items"]] == expected
    assert {page["total"] for page in found} == {len(expected)}


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)
@given(st.text(max_size=20))
def test_any_search_is_answered(client: TestClient, text: str) -> None:
    """With rows found, none, or a refusal; never a failure."""
    assert client.get("/gpus", params={"q": text}).status_code in (200, 422)


def ten_thousand(store: Store) -> None:
    """1,250 nodes of 8 GPUs, each with a sample and a power of its own."""
    node = {
        "interval_ms": 10_000,
        "driver_state": "ok",
        "driver_since": 0,
        "facts": {},
        "first_seen": 0,
        "last_seen": NOW,
    }
    gpu = {"model": "H100", "identity": {}, "first_seen": 0}
    newest = {metric.name: np.full(8, 5, f"<i{metric.width}").tobytes() for metric in EVERY_SAMPLE}
    newest |= {"ts": np.full(8, NOW, "<i8").tobytes(), "durations": np.full(8, 10_000, "<i4").tobytes()}
    with store.writing() as connection:
        for n in range(1250):
            node |= {"node_id": n, "uuid": str(n), "hostname": f"n{n:04}", "site": f"s{n % 3}"}
            connection.execute(insert(nodes).values(node))
            power = (np.arange(8 * n, 8 * n + 8) * 7919 % 10_007).astype("<i4").tobytes()
            connection.execute(insert(latest).values(newest | {"node_id": n, "power": power}))
        ids = range(10_000)
        connection.execute(
            insert(gpus),
            [gpu | {"gpu_id": n, "node_id": n // 8, "uuid": f"GPU-{n}", "position": n % 8, "slot": n % 8} for n in ids],
        )


@pytest.mark.slow
def test_ten_thousand(client: TestClient, store: Store) -> None:
    """Every GPU is on exactly one page, in order; prints how long pages take."""
    ten_thousand(store)
    begun = time.perf_counter()
    seen = items(client, "/gpus", limit=1000)
    print(f"10 pages of 1000 took {time.perf_counter() - begun:.2f} s")
    places = [(item["site"], item["node"]["hostname"], item["index"]) for item in seen]
    assert places == sorted(set(places))
    assert len(seen) == 10_000
    begun = time.perf_counter()
    hottest = get(client, "/gpus", sort="-power")
    print(f"the 100 of highest power took {time.perf_counter() - begun:.3f} s")
    powers = [item["metrics"]["power"]["value"] for item in hottest["items"]]
    assert powers == sorted(powers, reverse=True)
    assert (hottest["total"], powers[0]) == (10_000, 1000.6)


def test_a_lost_gpu_was_seen_last_when_it_was_lost(client: TestClient, fleet: Fleet) -> None:
    """Its samples go on, and say nothing but that it is lost."""
    gpu = fleet.gpu(fleet.node("a"), "GPU-lost", lost=True)
    fleet.sample(gpu, NOW)
    fleet.state(gpu, EVERY_SAMPLE[0].name, NOW - 300 * SECOND, reason=Reason.LOST)
    assert get(client, "/gpus/GPU-lost")["at"] == "2026-09-21T14:08:20.000000Z"
    assert [one["at"] for one in get(client, "/gpus")["items"]] == ["2026-09-21T14:08:20.000000Z"]
