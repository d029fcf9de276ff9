"""Usage of the fleet by the hour: exact, whatever came when, and as much as the days have."""

from collections.abc import Callable
from typing import Any

import pytest
from gpufleet_server.domain.usage import DAY
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fold import fold
from gpufleet_server.store.tiers import HOUR
from gpufleet_server.store.usage import (
    SUMMED,
    usage_daily,
    usage_fleet,
    usage_fleet_hours,
    usage_places,
)
from gpufleet_server.store.usage_days import add_up_days, add_up_running_days
from gpufleet_server.store.usage_rebuild import rebuild_usage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select, update

from tests.server.store.pieces import MINUTE, PIECES, PLACE, Pieces, pieces_of
from tests.server.used import MIDNIGHT

_END = MIDNIGHT + 10 * DAY


@pytest.fixture
def pieces(store: Store) -> Pieces:
    """No piece yet."""
    return pieces_of(store)


def test_an_hour_has_what_was_told_of_it(pieces: Pieces) -> None:
    """An interval that was held for its first hour and active in the second, of which intervals tell half and half."""
    begin = MIDNIGHT + HOUR
    pieces.come(*((0, 0, 0, at, at + 10 * MINUTE, 100) for at in range(begin, begin + HOUR, 10 * MINUTE)))
    pieces.come(*((0, 0, 0, at, at + 10 * MINUTE, 0) for at in range(begin + HOUR, begin + 2 * HOUR, 10 * MINUTE)))
    fold(pieces.store, MIDNIGHT + DAY)
    assert pieces.hours("held") == {1: 3_600_000, 2: 0}
    assert pieces.hours("active") == {1: 0, 2: 3_600_000}
    # 4 GiB for an hour, in MiB × s.
    assert pieces.hours("memory_sum") == {1: 4096 * 3600, 2: 4096 * 3600}


def test_a_piece_is_cut_at_the_hour(pieces: Pieces) -> None:
    """In proportion; by site, model and whether it is simulated, '' where there is none."""
    pieces.come((0, 0, 1, MIDNIGHT + 50 * MINUTE, MIDNIGHT + 80 * MINUTE, 50), (1, 1, 1, MIDNIGHT, MIDNIGHT + HOUR, 0))
    fold(pieces.store, MIDNIGHT + DAY)
    assert pieces.hours("observed") == {0: 4_200_000, 1: 1_200_000}
    assert pieces.hours("held") == {0: 300_000, 1: 600_000}
    assert {row[2:5] for row in pieces.rows()} == {("east", "", False), ("", "H100", True)}


def test_hours_that_are_folded_twice_count_once(pieces: Pieces) -> None:
    """What was folded is gone with the same commit; a second turn adds nothing."""
    pieces.come((0, 0, 0, MIDNIGHT, MIDNIGHT + MINUTE, 100))
    fold(pieces.store, MIDNIGHT + DAY)
    fold(pieces.store, MIDNIGHT + DAY)
    assert pieces.hours() == {0: 60_000}


@pytest.fixture(scope="module")
def new_store(new_sqlite: Callable[[], str]) -> Callable[[], Store]:
    """Makes empty stores."""
    return lambda: Store.open(new_sqlite())


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(PIECES, min_size=1, max_size=6), st.randoms(use_true_random=False))
def test_any_order_gives_the_same_hours_and_days(new_store: Callable[[], Store], told: Any, chance: Any) -> None:
    """All at once, or one after the other in any order; and the hours of a day are the day, but for rounding."""
    first, second = pieces_of(new_store()), pieces_of(new_store())
    first.come(*told)
    fold(first.store, _END)
    for piece in chance.sample(told, len(told)):
        second.come(piece)
        fold(second.store, _END)
    assert first.rows() == second.rows()
    assert first.hours("observed") == second.hours("observed") != {}
    add_up_days(first.store, _END)
    assert _days(first.store, usage_fleet_hours) == _days(first.store, usage_fleet)
    first.store.close()
    second.store.close()


def _days(store: Store, table: Any) -> list[Any]:
    """Sums of times by day, owner and place."""
    at = table.c.hour if table is usage_fleet_hours else table.c.day
    key = [(at - at % DAY).label("day"), table.c.owner_id, *PLACE]
    sums = [func.sum(table.c[name]) for name in ("observed", "active", "held", "memory_ms", "activity_ms")]
    query = select(*key, *sums).join(usage_places, usage_places.c.place_id == table.c.place_id)
    with store.reading() as connection:
        return list(connection.execute(query.group_by(*key).order_by(*key)))


def test_the_running_day_is_there_before_it_is_over(pieces: Pieces) -> None:
    """Added up from its hours, again and again; when it is over, and nothing waits, what days have of it stays."""
    pieces.come((0, 0, 0, MIDNIGHT + HOUR, MIDNIGHT + 3 * HOUR, 25))
    fold(pieces.store, MIDNIGHT + 3 * HOUR)
    for _ in range(2):
        assert add_up_running_days(pieces.store, MIDNIGHT + 3 * HOUR) == 1
    assert _days(pieces.store, usage_fleet) == _days(pieces.store, usage_fleet_hours)
    with pieces.store.reading() as connection:
        memory = connection.execute(select(usage_fleet.c.memory_sum)).scalar_one()
    assert memory == 4 * 1024 * 1024 * 7_200_000
    pieces.come((0, 0, 0, MIDNIGHT + 3 * HOUR, MIDNIGHT + DAY, 0))
    fold(pieces.store, MIDNIGHT + DAY)
    assert add_up_running_days(pieces.store, MIDNIGHT + DAY + MINUTE) == 1
    assert add_up_days(pieces.store, MIDNIGHT + DAY + HOUR) == 1
    assert add_up_running_days(pieces.store, MIDNIGHT + DAY + MINUTE) == 0
    assert _days(pieces.store, usage_fleet) == _days(pieces.store, usage_fleet_hours)


def test_days_and_hours_are_made_anew_from_intervals(pieces: Pieces) -> None:
    """Hours that lack something, as before an upgrade, in proportion; those that don't stay exact."""
    hours = [(MIDNIGHT + n * HOUR, 100 if n < 2 else 0) for n in range(4)]
    pieces.come(*((0, 0, 0, begin, begin + HOUR, held) for begin, held in hours))
    fold(pieces.store, MIDNIGHT + DAY)
    with pieces.store.writing() as connection:
        connection.execute(delete(usage_fleet_hours).where(usage_fleet_hours.c.hour < MIDNIGHT + HOUR))
        for table in (usage_daily, usage_fleet):
            connection.execute(delete(table))
    assert rebuild_usage(pieces.store, MIDNIGHT, MIDNIGHT + 2 * DAY) == 1
    assert pieces.hours("held") == {0: 1_800_000, 1: 3_600_000, 2: 0, 3: 0}
    assert pieces.hours("memory_sum") == dict.fromkeys(range(4), 4096 * 3600)
    with pieces.store.reading() as connection:
        assert connection.execute(select(usage_fleet.c.held)).scalars().all() == [2 * 3_600_000]
    assert rebuild_usage(pieces.store, MIDNIGHT, MIDNIGHT + 2 * DAY) == 0


def test_memory_of_thousands_of_gpus_is_added_up(pieces: Pieces) -> None:
    """A day of one owner's memory outgrows 64 bits where it has more than about a thousand GPUs."""
    for node in range(2):
        pieces.come((node, 0, 0, MIDNIGHT, MIDNIGHT + HOUR, 0))
    fold(pieces.store, MIDNIGHT + DAY)
    add_up_days(pieces.store, MIDNIGHT + 2 * DAY)
    with pieces.store.writing() as connection:
        connection.execute(update(usage_daily).values(memory_sum=6 * 10**18, model="H100"))
        # The same place for both.
        connection.exec_driver_sql("UPDATE nodes SET site = 'east', simulated = false")
        _owe_fleet(connection)
    add_up_days(pieces.store, MIDNIGHT + 2 * DAY)
    with pieces.store.reading() as connection:
        assert connection.execute(select(usage_fleet.c.memory_sum)).scalars().all() == [12e18]


def _owe_fleet(connection: Any) -> None:
    connection.exec_driver_sql(f"INSERT INTO due (kind, node_id, at) VALUES ('usage_fleet', 0, {MIDNIGHT})")


def test_every_sum_is_kept(pieces: Pieces) -> None:
    """All that intervals sum up is there by the hour, in its unit, and the most memory of any."""
    pieces.come((0, 0, 0, MIDNIGHT, MIDNIGHT + MINUTE, 50), (0, 1, 0, MIDNIGHT, MIDNIGHT + MINUTE, 50))
    fold(pieces.store, MIDNIGHT + DAY)
    with pieces.store.reading() as connection:
        rows = connection.execute(select(*(usage_fleet_hours.c[name] for name in (*SUMMED, "memory_most")))).all()
    assert [tuple(row) for row in rows] == [
        (60_000, 30_000, 30_000, 4096 * 60, 60_000, 5000 * 60_000, 60_000, 5 << 30)
    ] * 2
