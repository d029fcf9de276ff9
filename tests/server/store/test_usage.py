"""Usage in the store: folded in portions that can be ended anywhere, and removed when it is too old."""

import dataclasses

import pytest
from gpufleet_server.store import fold as folding
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fold import Folded, fold, folded_until
from gpufleet_server.store.retention import Keep, retain
from gpufleet_server.store.tiers import DAY
from gpufleet_server.store.usage import (
    RECORD,
    holders,
    usage,
    usage_fleet,
    usage_fleet_hours,
    usage_recent,
    usage_waste_days,
    usage_waste_hours,
)
from gpufleet_server.store.usage_days import add_up_days
from sqlalchemy import Table, func, insert, select, update

from tests.server.fleet import SECOND, Fleet
from tests.server.used import HOUR, MIDNIGHT, Used

_EVER = Keep(0, 0, 0, 0, 0, 0)


def _rows(store: Store, table: Table) -> int:
    with store.reading() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _come(store: Store, fleet: Fleet, nodes: int) -> None:
    """Two pieces that follow upon each other from each of some nodes, in a report each."""
    used = Used(store)
    for number in range(nodes):
        node_id = fleet.node(f"node-{number}")
        fleet.gpu(node_id, f"GPU-{number}")
        holder_id = used.holder(node_id, "unit", unit="a.service")
        for begin in (MIDNIGHT, MIDNIGHT + 10 * SECOND):
            end = begin + 10 * SECOND
            piece = RECORD.pack(holder_id, begin, end, -1, -1, 10_000, 0, 10_000, 1, 0, -1, -1)
            row = {"node_id": node_id, "received_at": end, "pieces": piece, "partitions": None}
            with store.writing() as connection:
                connection.execute(insert(usage_recent).values(row))


@pytest.mark.parametrize(("bound", "most"), [("_NODES", 2), ("_ROWS", 5)])
def test_folding_goes_on_where_it_ended(
    store: Store, fleet: Fleet, monkeypatch: pytest.MonkeyPatch, bound: str, most: int
) -> None:
    """A portion of nodes, or of rows, a transaction; what was not done yet is done next time, and nothing twice."""
    monkeypatch.setattr(folding, bound, most)
    _come(store, fleet, 5)
    turns = iter([True, False])
    assert fold(store, MIDNIGHT + HOUR, lambda: next(turns)).intervals == 2
    assert (_rows(store, usage), _rows(store, usage_recent)) == (2, 6)
    with store.reading() as connection:
        assert folded_until(connection, MIDNIGHT + HOUR) == MIDNIGHT + 10 * SECOND
    assert fold(store, MIDNIGHT + HOUR).pieces == 6
    assert (_rows(store, usage), _rows(store, usage_recent)) == (5, 0)
    with store.reading() as connection:
        assert folded_until(connection, MIDNIGHT + HOUR) == MIDNIGHT + HOUR
        sums = connection.execute(select(usage.c.begin, usage.c.end, usage.c.held, usage.c.memory_most).distinct())
        assert sums.all() == [(MIDNIGHT, MIDNIGHT + 20 * SECOND, 20_000, -1)]


def test_a_large_fleet_is_folded_when_there_is_enough(
    store: Store, fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of many nodes those of which something waits for a minute, unless all are wanted."""
    monkeypatch.setattr(folding, "_MANY", 2)
    _come(store, fleet, 3)
    assert fold(store, MIDNIGHT + 30 * SECOND).rows == 0
    assert fold(store, MIDNIGHT + 30 * SECOND, all_=True).rows == 6


def test_what_another_server_folds_meanwhile_is_not_folded_again(store: Store, fleet: Fleet) -> None:
    """Two at once find the same rows waiting; who comes second finds none of them."""
    _come(store, fleet, 2)
    assert fold(store, MIDNIGHT + HOUR, lambda: fold(store, MIDNIGHT + HOUR).pieces == 4) == Folded()
    assert (_rows(store, usage), _rows(store, usage_recent)) == (2, 0)


def test_usage_goes_when_it_is_too_old(store: Store, fleet: Fleet) -> None:
    """Intervals, and holders that were not seen since; what was added up of their days stays for as long as is said."""
    used, node_id = Used(store), fleet.node("alpha")
    fleet.gpu(node_id, "GPU-1")
    holder_id = used.holder(node_id, "unit", unit="old.service", user="alice")
    for age in (200, 1):
        used.interval(node_id, 0, holder_id, MIDNIGHT - age * DAY, MIDNIGHT - age * DAY + HOUR)
    with store.writing() as connection:
        connection.execute(update(holders).values(last_seen=MIDNIGHT - 100 * DAY))
    add_up_days(store, MIDNIGHT + HOUR)
    removed = retain(store, dataclasses.replace(_EVER, usage=30 * DAY), MIDNIGHT)
    assert removed == {"usage": 1, "holders": 1}
    assert (_rows(store, usage), _rows(store, usage_fleet)) == (1, 2)
    retain(store, dataclasses.replace(_EVER, daily=100 * DAY), MIDNIGHT)
    assert _rows(store, usage_fleet) == 1


def test_hours_and_the_worst_of_them_go_when_they_are_too_old(store: Store) -> None:
    """With the fleet's minutes; names of workloads no later than with their intervals; days of the worst with these."""
    rest = dict.fromkeys(("owner_id", "observed", "active", "held"), 1)
    place = {"site": "", "model": "", "simulated": False}
    worst = rest | place | {"holder_id": 1, "name": "job 1", "gpus": 1, "nodes": 1}
    sums = dict.fromkeys(("memory_sum", "memory_ms", "activity_sum", "activity_ms", "memory_most"), 1)
    times = [MIDNIGHT - days * DAY for days in (100, 50, 10)]
    with store.writing() as connection:
        for at in times:
            connection.execute(insert(usage_fleet_hours).values(rest | sums | {"hour": at, "place_id": 1}))
            connection.execute(insert(usage_waste_hours).values(worst | {"at": at}))
            connection.execute(insert(usage_waste_days).values(worst | {"at": at}))
    tables = (usage_fleet_hours, usage_waste_hours, usage_waste_days)
    retain(store, dataclasses.replace(_EVER, fleet_minutes=90 * DAY), MIDNIGHT)
    assert [_rows(store, table) for table in tables] == [2, 2, 3]
    retain(store, dataclasses.replace(_EVER, fleet_minutes=90 * DAY, usage=30 * DAY), MIDNIGHT)
    assert [_rows(store, table) for table in tables] == [2, 1, 1]
