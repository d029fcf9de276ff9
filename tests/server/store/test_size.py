"""What a store tells of its own size."""

import pytest
from gpufleet_server.store.engine import Store
from gpufleet_server.store.retention import Keep
from gpufleet_server.store.rollups import roll_days
from gpufleet_server.store.schema import metadata
from gpufleet_server.store.seal import seal_until
from gpufleet_server.store.size import StoreSize, TableSize, measure
from gpufleet_server.store.tiers import DAY, HOUR, fleet_minutes
from sqlalchemy import insert

from tests.server.fleet import Fleet
from tests.server.store.sampled import MIDNIGHT, Sent, add, hours

_KEEP = Keep(samples=30 * DAY, hourly=0, daily=0, fleet_minutes=90 * DAY, fleet_hours=0)


def _tables(found: StoreSize) -> dict[str, TableSize]:
    return {table.name: table for table in found.tables}


@pytest.fixture
def filled(store: Store, fleet: Fleet) -> Store:
    """Two GPUs of one node with samples in ten hours of a day, one of them not sealed."""
    node_id = fleet.node("alpha")
    fleet.gpu(node_id, "GPU-1")
    fleet.gpu(node_id, "GPU-2")
    ends = [MIDNIGHT + hours(n) + 7 for n in range(10)]
    add(store, *(Sent(node_id, [0, 1], [ts], {"power": [1, 2]}) for ts in ends))
    seal_until(store, MIDNIGHT + hours(9))
    with store.writing() as connection:
        rows = [{"group_id": 1, "ts": MIDNIGHT + hours(n), "observed": 1} for n in range(13)]
        connection.execute(insert(fleet_minutes), rows)
    return store


def test_each_tier_tells_its_rows_bytes_and_reach(filled: Store) -> None:
    """Counted where that is cheap; a GPU-day is what a GPU costs in a day, whatever the number of days."""
    found = measure(filled, _KEEP, MIDNIGHT + DAY)
    tables = _tables(found)
    assert (found.nodes, found.gpus) == (1, 2)
    assert {name: table.rows for name, table in tables.items() if table.rows} == {
        "recent": 1,
        "sealed": 9,
        "hourly": 1,
        "fleet_minutes": 13,
    }
    assert not any(table.rows_estimated for table in tables.values())
    sealed, hourly = tables["sealed"], tables["hourly"]
    assert (sealed.oldest, sealed.newest) == (MIDNIGHT, MIDNIGHT + hours(9))
    assert (hourly.oldest, hourly.newest) == (MIDNIGHT, MIDNIGHT + DAY)
    assert tables["recent"].newest == MIDNIGHT + hours(9) + 7
    assert tables["daily"].oldest is None
    assert sealed.per_gpu_day == pytest.approx(sealed.bytes / (2 * 9 / 24))
    assert hourly.per_gpu_day == pytest.approx(hourly.bytes / (2 * 9 / 24))
    assert found.database >= sum(table.bytes for table in tables.values()) > 0
    assert found.method in ("pg_total_relation_size", "dbstat", "sum of lengths")


def test_all_usage_is_told_of(store: Store) -> None:
    """A table that grows is not left out; that of places does not."""
    usage = {name for name in metadata.tables if name.startswith("usage")} - {"usage_places"}
    assert usage < {table.name for table in measure(store, _KEEP, MIDNIGHT).tables}


def test_what_a_setting_costs(filled: Store) -> None:
    """Bytes a day times the days; for ever has no end, and what is empty tells nothing."""
    tables = _tables(measure(filled, _KEEP, MIDNIGHT + DAY))
    sealed, minutes = tables["sealed"], tables["fleet_minutes"]
    assert sealed.per_day == pytest.approx(2 * sealed.bytes / (2 * 9 / 24))
    assert sealed.per_day is not None
    assert sealed.steady == pytest.approx(30 * sealed.per_day)
    assert minutes.per_day == pytest.approx(minutes.bytes * 2)
    assert minutes.per_gpu_day is None
    assert (tables["hourly"].steady, tables["hourly"].keep) == (None, 0)
    assert (tables["daily"].per_day, tables["events"].per_day) == (None, None)


def test_it_grows_with_what_is_in_it(filled: Store) -> None:
    """A day's rollup has its place too."""
    before = _tables(measure(filled, _KEEP, MIDNIGHT + DAY))["daily"]
    roll_days(filled, MIDNIGHT + DAY + HOUR)
    after = _tables(measure(filled, _KEEP, MIDNIGHT + DAY + HOUR))["daily"]
    assert (before.rows, after.rows) == (0, 1)
    assert after.bytes >= before.bytes
    assert after.per_gpu_day == pytest.approx(after.bytes / 2)


def test_wal_and_disk(store: Store) -> None:
    """What can be read is told."""
    found = measure(store, _KEEP, MIDNIGHT)
    assert found.wal is not None
    assert (found.free is None) == (store.dialect == "postgresql")
    assert found.gpus == 0
    assert all(table.steady is None for table in found.tables)
