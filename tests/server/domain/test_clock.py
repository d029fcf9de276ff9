"""Clock offsets: measured from uptimes, applied with a dead band."""

from gpufleet_agent.wire import Clock
from gpufleet_server.domain.clock import (
    DEAD_BAND,
    IN_A_ROW,
    LARGE,
    LONGEST_WAY,
    SECOND,
    Correction,
    measured_offset,
    turned_large,
)
from hypothesis import given
from hypothesis import strategies as st

NOW = 1_790_000_000 * SECOND
micros = st.integers(-(10**9) * SECOND, 10**9 * SECOND)
waits = st.integers(0, 10**6 * SECOND)


@given(wrong_by=micros, stepped_by=micros, lay=waits, uptime=waits)
def test_a_wall_clock_that_is_set_while_a_report_waits_does_not_matter(
    wrong_by: int, stepped_by: int, lay: int, uptime: int
) -> None:
    """Within one boot the time a report lay in the spool is known from the uptime alone."""
    created = Clock(wall=NOW - lay + wrong_by, uptime=uptime, boot="b")
    sent = Clock(wall=NOW + stepped_by, uptime=uptime + lay, boot="b")
    assert measured_offset(created, sent, NOW) == -wrong_by


@given(wrong_by=micros, lay=waits)
def test_across_a_reboot_the_wall_clocks_are_compared(wrong_by: int, lay: int) -> None:
    """A constant error of the wall clock is found whatever the uptimes say."""
    created = Clock(wall=NOW - lay + wrong_by, uptime=99 * SECOND, boot="before")
    sent = Clock(wall=NOW + wrong_by, uptime=1 * SECOND, boot="after")
    assert measured_offset(created, sent, NOW) == -wrong_by


def test_no_report_is_made_after_it_came() -> None:
    """A wall clock set back across a reboot would put the report into the future; it is put at its arrival."""
    created = Clock(wall=NOW + 3600 * SECOND, uptime=99 * SECOND, boot="before")
    sent = Clock(wall=NOW, uptime=1 * SECOND, boot="after")
    assert created.wall + measured_offset(created, sent, NOW) == NOW


def applied(first: int, *measured: int) -> list[int]:
    """The correction after each measurement."""
    correction, found = Correction(first), []
    for each in measured:
        correction = correction.after(each)
        found.append(correction.applied)
    return found


short_ways = st.integers(0, DEAD_BAND - 1)


@given(ways=st.lists(st.tuples(st.lists(st.integers(0, LONGEST_WAY), max_size=IN_A_ROW - 1), short_ways)))
def test_a_right_clock_is_not_corrected(ways: list[tuple[list[int], int]]) -> None:
    """Slow requests never pass for a wrong clock, as long as one in a few is quick."""
    assert set(applied(0, *(way for slow, quick in ways for way in (*slow, quick)))) <= {0}


@given(first=micros, offset=micros, ways=st.lists(short_ways, min_size=IN_A_ROW))
def test_a_wrong_clock_is_corrected(first: int, offset: int, ways: list[int]) -> None:
    """After a few reports the correction is as near as way and dead band allow, and stays so."""
    found = applied(first, *(offset + way for way in ways))
    assert all(abs(each - offset) <= 2 * DEAD_BAND for each in found[IN_A_ROW - 1 :])


@given(first=micros, offset=micros, way=short_ways, count=st.integers(IN_A_ROW, 20))
def test_a_steady_way_is_settled_once(first: int, offset: int, way: int, count: int) -> None:
    """Where every report takes as long, the correction is within the dead band of what is measured and never moves."""
    found = applied(first, *[offset + way] * count)
    assert abs(found[-1] - offset - way) <= DEAD_BAND
    assert len(set(found[IN_A_ROW - 1 :])) == 1


@given(offset=micros, ways=st.lists(short_ways, min_size=1))
def test_jitter_never_moves_a_correction(offset: int, ways: list[int]) -> None:
    """Once a correction is right, ways of less than the dead band leave it alone."""
    assert set(applied(offset, *(offset + way for way in ways))) == {offset}


@given(offset=st.integers(-(10**9) * SECOND, -DEAD_BAND - 1) | st.integers(LONGEST_WAY + 1, 10**9 * SECOND))
def test_what_can_be_no_way_is_believed_at_once(offset: int) -> None:
    """A clock that is ahead, or far behind, is corrected from the first report on."""
    assert applied(0, offset) == [offset]


@given(way=st.integers(0, LONGEST_WAY), ways=st.lists(st.integers(0, LONGEST_WAY), min_size=1), first=micros)
def test_large_reports_never_raise_a_correction(way: int, ways: list[int], first: int) -> None:
    """However many in a row are long on their way; nor do they stop reports of the usual size from saying so."""
    correction = Correction(first)
    for each in ways:
        correction = correction.after(first + each, large=True)
    assert correction.applied == first
    assert Correction(first).after(first - DEAD_BAND - 1 - way, large=True).applied < first


def test_a_large_offset_is_told_once() -> None:
    """Only the step over the bound tells, in either direction."""
    assert turned_large(0, LARGE + 1)
    assert turned_large(0, -LARGE - 1)
    assert not turned_large(0, LARGE)
    assert not turned_large(LARGE + 1, LARGE + 2 * SECOND)
