"""Who used how much, over the API."""

from typing import Any

import pytest
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fleet_rollups import group_ids
from gpufleet_server.store.tiers import MINUTE, fleet_minutes
from sqlalchemy import insert
from starlette.testclient import TestClient

from tests.server.api.ask import get, items, refused
from tests.server.fleet import NOW, SECOND, Fleet
from tests.server.used import HOUR, Used

_DAY_AGO = NOW - 24 * HOUR
_ALICE: dict[str, Any] = {"uid": 1, "user": "alice", "job": "4711", "step": "0"}


@pytest.fixture
def used(store: Store, fleet: Fleet) -> Used:
    """Two GPUs of a node whose agent tells: alice had one for two hours, an hour active, and has it now."""
    node_id = fleet.node("alpha", site="oslo", facts={"hostname": "alpha", "attribution": "names"})
    for uuid in ("GPU-a", "GPU-b"):
        fleet.gpu(node_id, uuid, model="H100", first_seen=_DAY_AGO)
    made = Used(store)
    alice = made.holder(node_id, "slurm", account="physics", absent={"slurm_partition": "no permission"}, **_ALICE)
    nobody = made.holder(node_id, "nobody")
    made.interval(node_id, 0, alice, NOW - 2 * HOUR, NOW, active=50)
    made.interval(node_id, 1, nobody, NOW - 2 * HOUR, NOW - HOUR)
    made.now(node_id, NOW, (0, alice), partition="MIG-1")
    return made


def _minutes(store: Store, state: str, hours: float) -> None:
    """GPU-hours of a use in the minute that ends at NOW."""
    with store.writing() as connection:
        ids = group_ids(connection, [("oslo", "H100", False, state)])
        row = {"group_id": ids["oslo", "H100", False, state], "ts": NOW // 60_000_000 * 60_000_000}
        connection.execute(insert(fleet_minutes).values(row | {"observed": int(hours * 3_600_000)}))


def test_groups(client: TestClient, used: Used) -> None:
    """Most GPU time first; times, units, and what is nobody's."""
    found = get(client, "/usage", since=(NOW - HOUR) // SECOND)
    assert found["by"] == ["user"]
    assert found["until"] == found["through"] == "2026-09-21T14:13:20.000000Z"
    (alice,) = found["items"]
    assert alice == {
        "names": {"user": "alice"},
        "holder": None,
        "gpu_seconds": 3600,
        "active_seconds": 1800,
        "held_seconds": 1800,
        "nobody_seconds": 0,
        "unknown_seconds": 0,
        "active_share": 0.5,
        "memory_mean": 1 << 20,
        "memory_most": 2 << 20,
        "activity": 0.5,
        "observed_seconds": 3600,
        "gpus": 1,
        "nodes": 1,
        "first": "2026-09-21T13:13:20.000000Z",
        "last": "2026-09-21T14:13:20.000000Z",
        "simulated": 0,
    }
    by = get(client, "/usage", by="job,gpu", limit=1)
    assert by["items"][0]["names"] == {"job": "4711", "cluster": "oslo", "gpu": "GPU-a"}
    assert len(items(client, "/usage", by=["job", "gpu"], limit=1)) == 2


def test_totals(client: TestClient, used: Used, store: Store) -> None:
    """What there was of it, and who is known to have had it; whoever is asked for."""
    for state, hours in (("active", 1), ("held", 3), ("free", 40)):
        _minutes(store, state, hours)
    found = get(client, "/usage", user="alice", site="oslo")["totals"]
    assert found["gpu_seconds"] == pytest.approx(2 * 86_400, rel=1e-3)
    assert found["coverage"] == pytest.approx(44 / 48, rel=1e-3)
    told = {name: found[f"{name}_seconds"] / 3600 for name in ("active", "held", "free", "workload", "nobody")}
    last = (NOW % MINUTE) / HOUR
    assert told == pytest.approx({"active": 1, "held": 3, "free": 40, "workload": 2 - last, "nobody": 1})
    assert (found["unknown_seconds"], found["untold_seconds"]) == (0, pytest.approx(3600 * (1 + last)))
    assert get(client, "/usage", node="alpha")["totals"] is None


def test_totals_count_no_minute_that_is_not_over(client: TestClient, used: Used, store: Store) -> None:
    """What is counted already of the minute in which a range ends is not time that nobody tells of."""
    with store.writing() as connection:
        ids = group_ids(connection, [("oslo", "H100", False, "active")])
        row = {"group_id": ids["oslo", "H100", False, "active"], "ts": NOW // MINUTE * MINUTE + MINUTE}
        connection.execute(insert(fleet_minutes).values(row | {"observed": 40_000}))
    assert get(client, "/usage", site="oslo")["totals"]["observed_seconds"] == 0


def test_intervals(client: TestClient, used: Used) -> None:
    """Whole, with all that is known of their holders and why the rest is not."""
    found = items(client, "/usage/intervals", since=(NOW - HOUR) // SECOND, limit=1)
    assert [each["gpu"] for each in found] == ["GPU-a"]
    alice = found[0]
    assert (alice["begin"], alice["end"]) == ("2026-09-21T12:13:20.000000Z", "2026-09-21T14:13:20.000000Z")
    assert (alice["active_seconds"], alice["held_seconds"]) == (3600, 3600)
    assert alice["node"]["hostname"] == "alpha"
    holder = alice["holder"]
    assert (holder["kind"], holder["job"], holder["user"], holder["cluster"]) == ("slurm", "4711", "alice", "oslo")
    assert holder["absent"] == {"slurm_partition": "no permission"}
    assert [each["holder"]["kind"] for each in items(client, "/usage/intervals", kind="nobody")] == ["nobody"]


def test_who_holds_a_gpu_now(client: TestClient, used: Used, fleet: Fleet) -> None:
    """Listed and by itself; nobody is not the same as not told."""
    fleet.gpu(fleet.node("beta"), "GPU-c")
    (held,) = get(client, "/gpus/GPU-a")["holders"]
    assert (held["holder"]["job"], held["partition"], held["memory"]) == ("4711", "MIG-1", 3 << 30)
    assert (held["at"], held["activity"], held["processes"]) == ("2026-09-21T14:13:20.000000Z", 0.25, 2)
    assert "since" in held
    fleet.gpu(1, "GPU-lost", lost=True)
    assert get(client, "/gpus/GPU-lost")["holders"] is None
    listed = {each["id"]: each["holders"] for each in get(client, "/gpus")["items"]}
    assert (listed["GPU-b"], listed["GPU-c"]) == ([], None)
    assert listed["GPU-a"] == [{name: value for name, value in held.items() if name != "since"}]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"by": "users"}, "query.by.0"),
        ({"by": ""}, "query.by.0"),
        ({"since": "2026-09-21T13:00:00Z", "until": "2026-09-21T12:00:00Z"}, "query.since"),
        ({"cursor": "bad"}, "query.cursor"),
        ({"users": "alice"}, "query.users"),
        ({"kind": "job"}, "query.kind.0"),
    ],
)
def test_what_can_not_be_asked(client: TestClient, given: dict[str, Any], field: str) -> None:
    """The parameter is named."""
    assert refused(client, "/usage", **given)["field"] == field
