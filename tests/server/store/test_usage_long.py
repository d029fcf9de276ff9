"""Six hours and weeks of usage, and what kinds of owners had: as much as the rows that they are added up from."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from gpufleet_server.domain.usage import DAY
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fold import fold
from gpufleet_server.store.retention import Keep, retain
from gpufleet_server.store.rollups import AFTER_DAY
from gpufleet_server.store.tiers import HOUR
from gpufleet_server.store.usage import (
    ACTIVITY,
    TIMES,
    owners,
    usage_fleet,
    usage_fleet_hours,
    usage_kind_days,
    usage_kind_hours,
    usage_six_hours,
)
from gpufleet_server.store.usage_days import add_up_days, add_up_running_days
from gpufleet_server.store.usage_long import SIX_HOURS, WEEKS, Long, make_long
from gpufleet_server.store.usage_rebuild import rebuild_usage
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import delete, func, select, update

from tests.server.store.pieces import MINUTE, PIECES, Pieces, pieces_of
from tests.server.used import MIDNIGHT

# The first midnight of a week.
_WEEK = MIDNIGHT // (7 * DAY) * 7 * DAY
_LATER = _WEEK + 30 * DAY


@pytest.fixture
def pieces(store: Store) -> Pieces:
    """No piece yet."""
    return pieces_of(store)


@pytest.fixture(scope="module")
def new_store(new_sqlite: Callable[[], str]) -> Callable[[], Store]:
    """Makes empty stores."""
    return lambda: Store.open(new_sqlite())


def _sums(store: Store, length: int, column: Any, *names: str) -> dict[Any, Any]:
    """Sums of a table by begin of so many µs, owner and place."""
    c = column.table.c
    key = ((column - column % length).label("begin"), c.owner_id, c.place_id)
    query = select(*key, *(func.sum(c[name]) for name in names)).group_by(*key)
    with store.reading() as connection:
        return {tuple(row[:3]): tuple(map(int, row[3:])) for row in connection.execute(query)}


def _there(store: Store, long: Long) -> set[int]:
    with store.reading() as connection:
        return set(connection.execute(select(long.table.c.at).distinct()).scalars())


def _complaints(store: Store) -> Iterator[str]:
    """What is there of long ones and of kinds, and is not what it is added up from."""
    for long in (SIX_HOURS, WEEKS):
        parts = _sums(store, long.length, long.part, *TIMES, *ACTIVITY)
        found = _sums(store, 1, long.table.c.at, *TIMES, *ACTIVITY)
        if found != {key: sums for key, sums in parts.items() if key[0] in _there(store, long)}:
            yield f"{long.table.name}: {found}, of {parts}"
    for kinds, column in ((usage_kind_hours, usage_fleet_hours.c.hour), (usage_kind_days, usage_fleet.c.day)):
        if (had := _kinds(store, kinds)) != (given_ := _of_owners(store, column)):
            yield f"{kinds.name}: {had}, of {given_}"


def _kinds(store: Store, table: Any) -> set[Any]:
    with store.reading() as connection:
        return {tuple(row) for row in connection.execute(select(table))}


def _of_owners(store: Store, column: Any) -> set[Any]:
    c = column.table.c
    query = select(column, owners.c.kind, c.place_id, *(func.sum(c[name]) for name in TIMES))
    query = query.join_from(column.table, owners, owners.c.owner_id == c.owner_id)
    with store.reading() as connection:
        found = connection.execute(query.group_by(column, owners.c.kind, c.place_id))
        return {(*row[:3], *map(int, row[3:])) for row in found}


_WORK = ("fold", "days", "running", "long")
# Within the days of pieces, soon after the end of the week, and later.
_NOWS = (MIDNIGHT + 2 * DAY + 30 * MINUTE, *(_WEEK + 7 * DAY + minutes * MINUTE for minutes in (5, 12, 50)), _LATER)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.one_of(st.lists(PIECES, min_size=1, max_size=3), st.sampled_from(_WORK)), max_size=12),
    st.sampled_from(_NOWS),
)
def test_whatever_comes_when_they_are_right_or_not_there(
    new_store: Callable[[], Store], course: list[Any], now: int
) -> None:
    """After each step; and once all is done, all that are over are there but one that begins before all else."""
    store = new_store()
    pieces = pieces_of(store)
    # The first of all: the week, and the day, are whole.
    pieces.come((0, 0, 0, _WEEK, _WEEK + MINUTE, 50))
    for step in (*course, *_WORK):
        if step in _WORK:
            _do(store, step, now)
        else:
            pieces.come(*step)
        assert [*_complaints(store)] == []
    for long in (SIX_HOURS, WEEKS):
        begins = {key[0] for key in _sums(store, long.length, long.part, "held")}
        with store.reading() as connection:
            oldest = connection.execute(select(func.min(long.part))).scalar() or 0
        over = {at for at in begins if oldest <= at and at + long.length <= now - AFTER_DAY}
        assert _there(store, long) == over
    store.close()


def _do(store: Store, step: str, now: int) -> None:
    work: dict[str, Callable[[Store, int], object]]
    work = {"fold": fold, "days": add_up_days, "running": add_up_running_days, "long": make_long}
    work[step](store, now)


def _fill_weeks(pieces: Pieces) -> None:
    """An hour a day, of two weeks, added up."""
    pieces.come(*((0, 0, 0, at, at + HOUR, 50) for at in range(_WEEK, _WEEK + 14 * DAY, DAY)))
    fold(pieces.store, _LATER)
    add_up_days(pieces.store, _LATER)
    make_long(pieces.store, _LATER)


def test_those_are_made_of_which_all_is_known(pieces: Pieces) -> None:
    """Over, and added up to the last day; what is made is not made again."""
    pieces.come((0, 0, 0, _WEEK, _WEEK + HOUR, 50), (0, 0, 0, _WEEK + 6 * DAY, _WEEK + 7 * DAY, 0))
    fold(pieces.store, _WEEK + 7 * DAY)
    assert make_long(pieces.store, _WEEK + 6 * HOUR + 9 * MINUTE) == 0
    assert make_long(pieces.store, _WEEK + 6 * HOUR + 11 * MINUTE) == 1
    add_up_running_days(pieces.store, _WEEK + 7 * DAY)
    assert make_long(pieces.store, _LATER) == 4
    assert _there(pieces.store, WEEKS) == set()
    add_up_days(pieces.store, _LATER)
    assert (make_long(pieces.store, _LATER), make_long(pieces.store, _LATER)) == (1, 0)
    assert [*_complaints(pieces.store)] == []


def test_what_comes_late_takes_those_away_that_lack_it(pieces: Pieces) -> None:
    """At once of hours, with the day of a week; all others stay."""
    _fill_weeks(pieces)
    hours = _there(pieces.store, SIX_HOURS)
    assert (len(hours), _there(pieces.store, WEEKS)) == (14, {_WEEK, _WEEK + 7 * DAY})
    pieces.come((1, 0, 1, _WEEK + DAY + 2 * HOUR, _WEEK + DAY + 3 * HOUR, 0))
    fold(pieces.store, _LATER)
    assert hours - _there(pieces.store, SIX_HOURS) == {_WEEK + DAY}
    assert [*_complaints(pieces.store)] == []
    add_up_days(pieces.store, _LATER)
    assert _there(pieces.store, WEEKS) == {_WEEK + 7 * DAY}
    assert make_long(pieces.store, _LATER) == 2
    assert [*_complaints(pieces.store)] == []


def test_a_day_that_runs_on_takes_its_week_away(pieces: Pieces) -> None:
    """The last one of the week is added up again from its hours, for an hour after its end."""
    now = _WEEK + 7 * DAY + 12 * MINUTE
    pieces.come((0, 0, 0, _WEEK, _WEEK + HOUR, 50), (0, 0, 0, _WEEK + 6 * DAY, _WEEK + 7 * DAY, 0))
    for work in ("fold", "days", "long"):
        _do(pieces.store, work, now)
    assert _there(pieces.store, WEEKS) == {_WEEK}
    pieces.come((1, 0, 1, _WEEK + 6 * DAY, _WEEK + 7 * DAY, 0))
    for work in ("fold", "running", "long"):
        _do(pieces.store, work, now)
        assert [*_complaints(pieces.store)] == []


def test_hours_that_are_made_anew_take_theirs_away(pieces: Pieces) -> None:
    """As after an upgrade, from intervals."""
    _fill_weeks(pieces)
    with pieces.store.writing() as connection:
        connection.execute(delete(usage_fleet_hours).where(usage_fleet_hours.c.hour == _WEEK))
    assert rebuild_usage(pieces.store, _WEEK, _WEEK + 2 * DAY) == 1
    assert _WEEK not in _there(pieces.store, SIX_HOURS) and _WEEK not in _there(pieces.store, WEEKS)
    assert [*_complaints(pieces.store)] == []


def test_what_another_server_left_out_is_made_anew(pieces: Pieces) -> None:
    """One of before this version adds to hours, and knows of nothing else."""
    _fill_weeks(pieces)
    with pieces.store.writing() as connection:
        connection.execute(delete(usage_kind_hours))
        connection.execute(update(usage_six_hours).values(held=1))
    assert rebuild_usage(pieces.store, _WEEK, _LATER) == 0
    assert [*_complaints(pieces.store)] == []


def test_what_is_too_old_goes_with_its_parts(pieces: Pieces) -> None:
    """No part is missing of what stays, and of what lost its first part nothing is made."""
    _fill_weeks(pieces)
    now = _WEEK + 100 * DAY
    retain(pieces.store, Keep(fleet_minutes=now - _WEEK - DAY - HOUR, daily=now - _WEEK - 3 * DAY), now)
    assert make_long(pieces.store, now) == 0
    assert (min(_there(pieces.store, SIX_HOURS)), _there(pieces.store, WEEKS)) == (_WEEK + 2 * DAY, {_WEEK + 7 * DAY})
    assert [*_complaints(pieces.store)] == []


def test_it_stops_when_it_is_told(pieces: Pieces) -> None:
    """After what is begun: the rest is made later."""
    turns = iter([True, True, False])
    pieces.come(*((0, 0, 0, at, at + HOUR, 50) for at in range(_WEEK, _WEEK + 2 * DAY, DAY // 2)))
    fold(pieces.store, _LATER)
    assert make_long(pieces.store, _LATER, lambda: next(turns)) == 2
    assert make_long(pieces.store, _LATER) == 2
