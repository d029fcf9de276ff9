"""What is too old goes, tier by tier, a little at a time; all else stays."""

import pytest
from gpufleet_server.store import partitions
from gpufleet_server.store.engine import Store
from gpufleet_server.store.retention import Keep, drop_emptied, retain
from gpufleet_server.store.rollups import roll_days
from gpufleet_server.store.seal import seal_until
from gpufleet_server.store.server_minutes import add_up_hour, server_hours, server_minutes
from gpufleet_server.store.tiers import (
    DAILY,
    DAY,
    HOUR,
    HOURLY,
    MINUTE,
    SEALED,
    fleet_hours,
    fleet_minutes,
    fleet_states,
    recent,
)
from sqlalchemy import Table, insert, select, text
from sqlalchemy.exc import OperationalError

from tests.server.fleet import Fleet
from tests.server.store.sampled import MIDNIGHT, add, gpu, held, hours, waiting

_EVER = Keep(0, 0, 0, 0, 0, 0)


@pytest.fixture
def filled(store: Store, fleet: Fleet) -> Store:
    """Two nodes with a sample at noon of every tenth day of a hundred, sealed and rolled up."""
    for name in ("alpha", "beta"):
        add(store, *gpu(fleet.node(name), 0, [(MIDNIGHT - day * DAY + hours(12), day) for day in range(0, 100, 10)]))
    seal_until(store, MIDNIGHT + DAY)
    roll_days(store, MIDNIGHT + 2 * DAY)
    return store


def test_each_tier_has_its_own_age(filled: Store) -> None:
    """Nothing younger than asked for goes; on PostgreSQL partitions go when all they hold is too old."""
    now = MIDNIGHT + DAY
    before = {tier.name: held(filled, tier) for tier in (SEALED, HOURLY, DAILY)}
    removed = retain(filled, Keep(samples=11 * DAY, hourly=35 * DAY, daily=0), now)
    samples = held(filled, SEALED)
    assert {key for key in before["sealed"] if key[1] > now - 11 * DAY} == samples.keys()
    points = held(filled, HOURLY)
    assert {key for key in before["hourly"] if key[1] > now - 35 * DAY} <= points.keys() < before["hourly"].keys()
    assert held(filled, DAILY) == before["daily"]
    assert removed.keys() == {"sealed", "hourly"}
    assert retain(filled, Keep(samples=11 * DAY, hourly=35 * DAY, daily=0), now) == {}


def test_for_ever_is_for_ever(filled: Store) -> None:
    """0 removes nothing, however old."""
    assert retain(filled, _EVER, MIDNIGHT + 100_000 * DAY) == {}
    assert len(held(filled, SEALED)) == 20


def test_it_ends_between_two_transactions(filled: Store) -> None:
    """When told to: the rest goes next time."""
    if filled.dialect == "sqlite":
        assert retain(filled, Keep(samples=DAY), MIDNIGHT, lambda: False) == {}


def _times(store: Store, table: Table) -> list[int]:
    with store.reading() as connection:
        return sorted(set(connection.execute(select(table.c.ts)).scalars()))


def test_rows_of_the_fleet(store: Store) -> None:
    """Old minutes and hours go; of old counts of states one an hour stays."""
    ends = [MIDNIGHT - DAY + n * 20 * MINUTE for n in range(150)]
    with store.writing() as connection:
        for table in (fleet_minutes, fleet_hours):
            connection.execute(insert(table), [{"group_id": 1, "ts": ts, "observed": 1} for ts in ends])
        connection.execute(insert(fleet_states), [{"group_id": 1, "ts": ts, "gpus": 1} for ts in ends])
    removed = retain(store, Keep(fleet_minutes=DAY, fleet_hours=2 * DAY), MIDNIGHT + DAY)
    assert _times(store, fleet_minutes) == [ts for ts in ends if ts > MIDNIGHT]
    assert _times(store, fleet_hours) == ends
    assert _times(store, fleet_states) == [ts for ts in ends if ts >= MIDNIGHT or ts % HOUR == 0]
    assert removed == {"fleet_minutes": 73, "fleet_states": 48}
    assert retain(store, Keep(fleet_hours=DAY), MIDNIGHT + DAY) == {"fleet_hours": 72}


def test_minutes_go_by_whole_hours(store: Store) -> None:
    """Of an hour that is partly old enough nothing goes: its minutes would tell of less than it had."""
    ends = [MIDNIGHT + n * MINUTE for n in range(1, 181)]
    with store.writing() as connection:
        connection.execute(insert(fleet_minutes), [{"group_id": 1, "ts": ts, "observed": 1} for ts in ends])
    retain(store, Keep(fleet_minutes=DAY), MIDNIGHT + DAY + HOUR + 30 * MINUTE)
    assert _times(store, fleet_minutes) == ends[60:]


def test_servers_hours_stay_when_their_minutes_go(store: Store) -> None:
    """As long as the fleet's own."""
    begins = [MIDNIGHT - HOUR, MIDNIGHT]
    zero = {column.name: 0 for column in server_minutes.c}
    with store.writing() as connection:
        for at in begins:
            connection.execute(insert(server_minutes), zero | {"server": "a", "at": at, "elected": False})
            add_up_hour(connection, "a", at)
    assert retain(store, Keep(fleet_minutes=DAY), MIDNIGHT + DAY) == {"server_minutes": 1}
    with store.reading() as connection:
        assert list(connection.execute(select(server_hours.c.at).order_by(server_hours.c.at)).scalars()) == begins
    assert retain(store, Keep(fleet_hours=DAY), MIDNIGHT + DAY + 1) == {"server_hours": 1}


def test_emptied_partitions_go(postgresql: Store) -> None:
    """Of sealed hours; what came in the meantime is put back, and nothing of the last two hours is touched."""
    node_id = Fleet(postgresql).node("alpha")
    now = MIDNIGHT + hours(5)
    with postgresql.writing() as connection:
        partitions.make_ahead(connection, now - hours(3))
        partitions.make_ahead(connection, now)
    ends = [MIDNIGHT + hours(n) + 7 for n in range(6)]
    add(postgresql, *gpu(node_id, 0, [(ts, 1) for ts in ends]))
    seal_until(postgresql, now)
    add(postgresql, *gpu(node_id, 0, [(ends[2] + 1, 2)]))
    late = waiting(postgresql)
    dropped = drop_emptied(postgresql, now, now)
    assert [name[-3:] for name in dropped] == ["_01", "_02", "_03"]
    assert waiting(postgresql) == late
    with postgresql.reading() as connection:
        left = [each.begin for each in partitions.listing(connection, recent) if each.begin is not None]
    assert min(left) == now - HOUR
    assert drop_emptied(postgresql, now, now) == []
    seal_until(postgresql, now)
    assert len(held(postgresql, SEALED)) == 6


def test_a_partition_in_use_is_left_for_later(postgresql: Store) -> None:
    """Whoever reads is not waited for long, and nothing is lost."""
    now = MIDNIGHT + hours(5)
    with postgresql.writing() as connection:
        partitions.make_ahead(connection, now - hours(2))
    with postgresql.reading() as connection:
        connection.execute(text("SELECT count(*) FROM recent"))
        assert drop_emptied(postgresql, now, now) == []
    assert len(drop_emptied(postgresql, now, now)) == 2


def test_a_reader_of_one_tier_keeps_no_other(postgresql: Store) -> None:
    """What is in use goes another time, and that is told; all else goes now."""
    with postgresql.writing() as connection:
        for tier in (SEALED, DAILY):
            partitions.make_for(connection, tier.table, MIDNIGHT)
        connection.execute(insert(fleet_minutes), [{"group_id": 1, "ts": MIDNIGHT, "observed": 1}])
    keep, now = Keep(samples=DAY, daily=DAY, fleet_minutes=DAY), MIDNIGHT + 900 * DAY
    with postgresql.reading() as connection:
        connection.execute(text("SELECT count(*) FROM sealed"))
        with pytest.raises(OperationalError, match="lock timeout"):
            retain(postgresql, keep, now)
        assert _times(postgresql, fleet_minutes) == []
    assert retain(postgresql, keep, now).keys() == {"sealed"}


def test_a_partition_that_was_cut_off_before_a_crash(postgresql: Store) -> None:
    """What it holds is put back and the rest of the work done."""
    node_id = Fleet(postgresql).node("alpha")
    now = MIDNIGHT + hours(5)
    with postgresql.writing() as connection:
        partitions.make_ahead(connection, now - hours(2))
    add(postgresql, *gpu(node_id, 0, [(MIDNIGHT + hours(3), 1)]))
    before = waiting(postgresql)
    with postgresql.writing() as connection:
        (name,) = [p.name for p in partitions.listing(connection, recent) if p.begin == MIDNIGHT + hours(3)]
        connection.execute(text(f"ALTER TABLE recent DETACH PARTITION {name}"))
        # The server that goes on knows a metric more.
        connection.execute(text(f"ALTER TABLE {name} DROP COLUMN tensor_active"))
    assert name in drop_emptied(postgresql, now, now)
    assert waiting(postgresql) == before
