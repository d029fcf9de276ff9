"""The fleet as arrays says what the rows say, also when a large fleet's roster is kept between questions."""

from typing import Any

import numpy as np
import pytest
from gpufleet_agent.catalogue import BY_NAME, Reason
from gpufleet_server.domain.state import GpuState
from gpufleet_server.domain.use import Use
from gpufleet_server.queries import fleet as totals
from gpufleet_server.queries import gpus as listings
from gpufleet_server.queries import quantiles
from gpufleet_server.queries.filters import FleetFilter, GpuFilter
from gpufleet_server.queries.present import STATES, present
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import latest
from sqlalchemy import insert, update

from tests.server.fleet import NOW, SECOND, Fleet

NODES, HELD_BY_EACH = 640, 8


def test_quantiles_are_values_of_gpus(store: Store, fleet: Fleet) -> None:
    """Nearest rank, over GPUs that report and have a value; the others are owned all the same."""
    east, silent = fleet.node("a", site="east"), fleet.node("b", site="west", last_seen=NOW - 3600 * SECOND)
    for number, value in enumerate((40, 50, 60, 70, None)):
        fleet.sample(fleet.gpu(east, f"GPU-{number}", model="H100"), gpu_temperature=value)
    fleet.sample(fleet.gpu(silent, "GPU-s"), gpu_temperature=99)
    fleet.sample(fleet.gpu(east, "GPU-gone", removed_at=NOW), gpu_temperature=99)
    with store.reading() as connection:
        found = quantiles.quantiles(
            connection, BY_NAME["gpu_temperature"], FleetFilter(), NOW, of=[0, 0.5, 0.51, 1], by="site"
        )
    assert [(one.name, one.values, one.gpus, one.owned) for one in found] == [
        ("east", [40, 50, 60, 70], 4, 5),
        ("west", [None] * 4, 0, 1),
    ]


@pytest.mark.parametrize(
    ("values", "use"),
    [
        ({"gpu_utilization": 5000}, Use.ACTIVE),
        ({"gpu_utilization": 0, "compute_processes": 1}, Use.HELD),
        ({"gpu_utilization": 0, "fb_used": 40 << 20}, Use.HELD),
        ({"gpu_utilization": 0, "fb_used": 100}, Use.FREE),
        ({"fb_used": 40 << 20}, Use.UNKNOWN),
    ],
)
def test_gpus_by_use(store: Store, fleet: Fleet, values: dict[str, int], use: Use) -> None:
    """The use of the newest sample, only of GPUs that report."""
    fleet.sample(fleet.gpu(fleet.node("a"), "GPU-1"), **values)
    fleet.sample(fleet.gpu(fleet.node("b", last_seen=0), "GPU-2"), **values)
    with store.reading() as connection:
        for one in Use:
            page = listings.listing(connection, GpuFilter(use=[one]), NOW, limit=10)
            assert [gpu.uuid for gpu in page.items] == (["GPU-1"] if one is use else [])
            assert page.total == len(page.items)


def large(store: Store) -> None:
    """More GPUs than are read anew for each question; the temperature of each is its number modulo 89."""
    node = {"interval_ms": 10_000, "driver_state": "ok", "driver_since": 0, "facts": {}, "first_seen": 0}
    many: list[dict[str, Any]] = []
    packed = []
    for n in range(1, NODES + 1):
        many.append(node | {"node_id": n, "uuid": str(n), "hostname": f"n{n}", "site": f"s{n % 3}", "last_seen": NOW})
        numbers = np.arange(8) + 8 * n
        temperature = (numbers % 89).astype("<i2").tobytes()
        times, durations = np.full(8, NOW, "<i8").tobytes(), np.full(8, 10_000, "<i4").tobytes()
        packed.append({"node_id": n, "ts": times, "durations": durations, "gpu_temperature": temperature})
    with store.writing() as connection:
        connection.execute(insert(nodes), many)
        connection.execute(insert(latest), packed)
        connection.execute(insert(gpus), [gpu(n, slot) for n in range(1, NODES + 1) for slot in range(HELD_BY_EACH)])


def gpu(node_id: int, slot: int) -> dict[str, Any]:
    """A row of `gpus`."""
    identity: dict[str, Any] = {"identity": {}, "first_seen": 0, "model": "H100", "memory_total": 1 << 30}
    return identity | {"gpu_id": 8 * node_id + slot, "node_id": node_id, "slot": slot, "uuid": f"GPU-{node_id}-{slot}"}


def counts(store: Store) -> dict[GpuState, int]:
    """How many GPUs there are of each state."""
    with store.reading() as connection:
        return totals.totals(totals.overview(connection, FleetFilter(), NOW).groups).by_state


def test_a_kept_roster_is_never_old(store: Store) -> None:
    """GPUs that are lost, removed, or in a roster that changed are seen by the next question."""
    large(store)
    assert counts(store)[GpuState.REPORTING] == NODES * HELD_BY_EACH
    with store.writing() as connection:
        connection.execute(update(gpus).where(gpus.c.gpu_id == 8).values(lost=True))
        connection.execute(update(gpus).where(gpus.c.gpu_id.in_((16, 17))).values(removed_at=NOW))
    assert counts(store) == {
        GpuState.REPORTING: NODES * HELD_BY_EACH - 3,
        GpuState.LOST: 1,
        GpuState.IN_MAINTENANCE: 0,
        GpuState.DRIVER_FAILED: 0,
        GpuState.NOT_REPORTING: 0,
        GpuState.REMOVED: 2,
    }
    with store.writing() as connection:
        connection.execute(insert(gpus).values(gpu(5, 9) | {"gpu_id": 9_000_000, "uuid": "GPU-new"}))
        connection.execute(update(nodes).where(nodes.c.node_id == 5).values(roster_digest="another"))
    assert counts(store)[GpuState.REPORTING] == NODES * HELD_BY_EACH - 2
    with store.reading() as connection:
        fleet = present(connection, NOW, ["gpu_temperature"])
    new = fleet.gpus.gpu_id == 9_000_000
    assert (fleet.fresh[new].tolist(), fleet.here("gpu_temperature")[new].tolist()) == ([False], [False])
    assert STATES[fleet.state[fleet.gpus.gpu_id == 17][0]] is GpuState.REMOVED


def test_a_kept_frame_is_never_old(store: Store) -> None:
    """A node that moves, or that is new and has never sampled, is seen by the next question."""
    large(store)
    assert counts(store)[GpuState.REPORTING] == NODES * HELD_BY_EACH
    new = {"node_id": NODES + 1, "uuid": "new", "hostname": "new", "last_seen": 0, "interval_ms": 1, "facts": {}}
    with store.writing() as connection:
        connection.execute(update(nodes).where(nodes.c.node_id == 7).values(site="moved", simulated=True))
        connection.execute(insert(nodes).values(new | {"driver_state": "ok", "driver_since": 0, "first_seen": 0}))
        connection.execute(insert(gpus).values(gpu(NODES + 1, 0) | {"gpu_id": 9_000_000}))
    with store.reading() as connection:
        found = totals.overview(connection, FleetFilter(site=["moved"]), NOW).groups
    assert [(group.simulated, group.gpus) for group in found] == [(True, HELD_BY_EACH)]
    assert counts(store)[GpuState.NOT_REPORTING] == 1


@pytest.mark.parametrize("sort", ["gpu_temperature", "-gpu_temperature"])
def test_orders_by_a_metric_go_on_where_the_first_page_ended(store: Store, sort: str) -> None:
    """The first page is told by other means than the next ones: together they are one order, without gap or repeat."""
    large(store)
    with store.reading() as connection:
        first = listings.listing(connection, GpuFilter(site=["s1"]), NOW, limit=50, sort=sort)
        second = listings.listing(connection, GpuFilter(site=["s1"]), NOW, limit=50, sort=sort, cursor=first.next)
        whole = listings.listing(connection, GpuFilter(site=["s1"]), NOW, limit=5000, sort=sort)
    uuids = [gpu.uuid for gpu in (*first.items, *second.items)]
    assert uuids == [gpu.uuid for gpu in whole.items][:100]
    values = [gpu.metrics["gpu_temperature"].value or 0 for gpu in whole.items]
    assert values == sorted(values, reverse=sort.startswith("-"))
    assert first.total == len(whole.items)


def test_reasons_are_no_values(store: Store, fleet: Fleet) -> None:
    """What stands for an absent value is counted nowhere."""
    fleet.sample(fleet.gpu(fleet.node("a"), "GPU-1"), power=BY_NAME["power"].absent(Reason.FAILED))
    with store.reading() as connection:
        (group,) = totals.overview(connection, FleetFilter(), NOW).groups
    assert (group.power.total, group.power.gpus) == (None, 0)
