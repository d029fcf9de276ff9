"""The board Utilisation and waste: whole days of a range come from days, and the rest of it from hours."""

import functools
import time
from collections.abc import Mapping

import pytest
from gpufleet_dashboards.discovery import every_board

from tests.dashboards.boards.conftest import Views
from tests.dashboards.fleet.boards import HOUR_MS, Viewer
from tests.dashboards.fleet.rows import Rows
from tests.dashboards.fleet.world import World
from tests.dashboards.grafana_sql.front import Range
from tests.dashboards.truth.seen import Seen, complaints
from tests.dashboards.truth.waste import TRUTHS

_HOUR, _DAY = 3_600_000_000, 86_400_000_000
_DAY_MS = 24 * HOUR_MS
_SUMS = ("Whose it was", "By user", "By account", "By namespace")
# How many days after that of `_told` a range begins and ends, and how many minutes into them.
_WITHIN_DAYS = {
    "within a day": ((0, 10), (0, 1290)),
    "over a midnight": ((-1, 1200), (0, 40)),
    "a whole day": ((0, 0), (1, 0)),
    "days and both ends": ((-10, 20), (0, 25)),
    "up to a midnight": ((-2, 300), (1, 0)),
}
_rows = functools.cache(Rows.of)


@pytest.mark.parametrize("named", _WITHIN_DAYS)
def test_ranges_that_begin_and_end_within_days(world: World, named: str) -> None:
    """Sums are of just the range, wherever in a day it begins and ends."""
    begin, end = (_told(world) + days * _DAY_MS + minutes * 60_000 for days, minutes in _WITHIN_DAYS[named])
    assert_sums(world, Range(begin, end))


@pytest.mark.parametrize("days", [0, 1, 3])
def test_ranges_until_now(world: World, days: int) -> None:
    """Today, and a yesterday that may not have been added up, come from hours."""
    end = world.end // 1000
    assert_sums(world, Range(end - days * _DAY_MS - 5 * HOUR_MS - 1_234_000, end))


def _told(world: World) -> int:
    """A midnight (ms) some days ago: in the hour after it nodes tell who used them, as in that ten days before."""
    return (world.end // _DAY - 2) // 10 * 10 * _DAY_MS


def assert_sums(world: World, shown: Range) -> None:
    """All sums of a range are what was sent."""
    with world.reading() as connection:
        for count in (None, 1):
            viewer = Viewer(connection, "waste", shown)
            viewer.choose(count)
            for title in _SUMS:
                seen = Seen(world, _rows(world.sent), viewer.panel(title), viewer.range, viewer.chosen)
                expected = TRUTHS[title](seen)
                assert expected.listing and complaints(seen, expected) == []


def _put(views: Views, view: str, at: int, held_hours: float) -> None:
    sums = {"active_seconds": 0, "held_seconds": held_hours * 3600, "activity_sum": 0, "activity_seconds": 0}
    views.put(view, {"at": at, "owner_id": 1, "place_id": 1, **sums})


def _held(views: Views, begin: int, end: int) -> float:
    views.connection.execute("DELETE FROM grafana.owners")
    views.put("owners", {"owner_id": 1, "kind": "slurm", "user_name": "ada"})
    (row,) = views.rows("waste", "By user", begin, end)
    held: float = row["held"]
    return held


def test_whole_days_are_read_from_days_and_ends_from_hours(views: Views) -> None:
    """Each is there with another amount: what is shown tells which was read."""
    day = views.now // _DAY * _DAY - 10 * _DAY
    for number in range(4):
        _put(views, "usage_days", day + number * _DAY, 1000)
        for hour in range(24):
            _put(views, "usage_hours", day + number * _DAY + hour * _HOUR, 1)
    assert _held(views, day + 18 * _HOUR + _HOUR // 2, day + 3 * _DAY + 2 * _HOUR) == pytest.approx(5.5 + 2000 + 2)


def test_weeks_and_six_hours_are_read_where_they_are_there(views: Views) -> None:
    """Those that lie within the range, in place of their days, and of the hours at the range's ends."""
    week = views.now // (7 * _DAY) * 7 * _DAY - 21 * _DAY
    for day in range(week, week + 15 * _DAY, _DAY):
        _put(views, "usage_days", day, 100)
    for hour in range(week - _DAY, week + 16 * _DAY, _HOUR):
        _put(views, "usage_hours", hour, 1)
    for begin in (week, week - 6 * _HOUR, week + 8 * _DAY, week + 15 * _DAY):
        _put(views, "usage_six_hours", begin, 30)
    # The second week has none, and so its days are read.
    _put(views, "usage_weeks", week, 5000)
    assert _held(views, week, week + 15 * _DAY) == pytest.approx(5000 + 800)
    assert _held(views, week + _HOUR, week + 15 * _DAY) == pytest.approx(23 + 1400)
    assert _held(views, week - 8 * _HOUR - _HOUR // 2, week + 7 * _DAY + 2 * _HOUR) == pytest.approx(2.5 + 30 + 5002)
    assert _held(views, week + 14 * _DAY, week + 15 * _DAY + 7 * _HOUR) == pytest.approx(100 + 30 + 1)
    assert _held(views, week + 8 * _DAY + _HOUR, week + 8 * _DAY + 12 * _HOUR) == pytest.approx(11)


def test_days_that_just_ended_are_read_from_hours(views: Views) -> None:
    """A day is added up some minutes after its end, and today's is always behind."""
    end = time.time_ns() // 1000
    for at in range(end // _HOUR * _HOUR - 2 * _HOUR, end, _HOUR):
        _put(views, "usage_hours", at, 1)
    _put(views, "usage_days", end // _DAY * _DAY, 1000)
    # Of the hour that is not over yet some ms more have gone by when it is asked for.
    assert _held(views, end // _HOUR * _HOUR - 2 * _HOUR, end) == pytest.approx(3, abs=0.9)


def test_days_whose_hours_are_gone_count_in_part(views: Views) -> None:
    """Hours are not kept as long as days: of a day that the range cuts a part is better than nothing."""
    day = views.now // _DAY * _DAY - 10 * _DAY
    for number in range(4):
        _put(views, "usage_days", day + number * _DAY, 24)
    for hour in range(12, 48):
        _put(views, "usage_hours", day + 2 * _DAY + hour * _HOUR, 100)
    # Hours are whole from the fourth day on.
    assert _held(views, day + 12 * _HOUR, day + 3 * _DAY + 2 * _HOUR) == pytest.approx(12 + 24 + 24 + 200)
    assert _held(views, day + 2 * _DAY + 12 * _HOUR, day + 2 * _DAY + 18 * _HOUR) == pytest.approx(6)


def test_the_board_has_these_panels() -> None:
    """A sum that is added is to be held against the same ranges."""
    titles: Mapping[str, object] = {panel.title: panel for panel in every_board()["waste"].panels}
    assert set(_SUMS) <= set(titles) and {each for each in titles if each.startswith("By ")} <= set(_SUMS)
