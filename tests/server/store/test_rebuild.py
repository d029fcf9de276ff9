"""Rollups made anew from what is kept come to the same."""

from gpufleet_server.store.engine import Store
from gpufleet_server.store.rebuild import rebuild
from gpufleet_server.store.rollups import roll_days
from gpufleet_server.store.seal import seal_until
from gpufleet_server.store.tiers import DAILY, DAY, HOURLY, SEALED, due, fleet_hours, fleet_minutes
from sqlalchemy import insert, select, update

from tests.server.fleet import Fleet
from tests.server.store.sampled import MIDNIGHT, add, emptied, gpu, held, hours, uses

_END = MIDNIGHT + 3 * DAY


def _fill(store: Store, fleet: Fleet) -> None:
    ends = [MIDNIGHT + hours(n * 9) + 7 for n in range(6)]
    for name in ("alpha", "beta"):
        add(store, *gpu(fleet.node(name), 0, [(ts, 5) for ts in ends]))
    seal_until(store, _END)
    roll_days(store, _END)
    with store.writing() as connection:
        connection.execute(insert(fleet_minutes), {"group_id": 1, "ts": MIDNIGHT + hours(1), "observed": 9})


def test_what_is_lost_or_wrong_is_made_again(store: Store, fleet: Fleet) -> None:
    """From sealed samples, of all nodes; a second time changes nothing."""
    _fill(store, fleet)
    expected = held(store, HOURLY), held(store, DAILY), uses(store, DAILY)
    assert len(expected[0]) == 12
    emptied(store, HOURLY.table, DAILY.table, due)
    for _ in range(2):
        assert rebuild(store, MIDNIGHT, _END) == 12
        assert (held(store, HOURLY), held(store, DAILY), uses(store, DAILY)) == expected
    with store.reading() as connection:
        assert connection.execute(select(fleet_hours.c.ts, fleet_hours.c.observed)).all() == [(MIDNIGHT + hours(1), 9)]


def test_a_range_is_a_range(store: Store, fleet: Fleet) -> None:
    """Hours that ended in it are made again, others not."""
    _fill(store, fleet)
    emptied(store, HOURLY.table)
    assert rebuild(store, MIDNIGHT + hours(9), MIDNIGHT + hours(19)) == 4
    assert {time - MIDNIGHT for _, time, _ in held(store, HOURLY)} == {hours(10), hours(19)}


def test_points_whose_samples_are_gone_stay(store: Store, fleet: Fleet) -> None:
    """Nothing is taken away for want of samples."""
    _fill(store, fleet)
    before = held(store, HOURLY)
    emptied(store, SEALED.table)
    with store.writing() as connection:
        connection.execute(update(fleet_minutes).values(observed=1))
    assert rebuild(store, MIDNIGHT, _END) == 0
    assert held(store, HOURLY) == before
