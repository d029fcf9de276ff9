"""Clock offsets: measured from uptimes, applied with a dead band."""

from gpufleet_agent.wire import Clock
from gpufleet_server.domain.clock import DEAD_BAND, LARGE, SECOND, applied_offset, measured_offset, turned_large
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


@given(applied=micros, jitter=st.integers(-DEAD_BAND + 1, DEAD_BAND - 1))
def test_a_right_clock_is_not_corrected(applied: int, jitter: int) -> None:
    """What is measured below a second is the way, not the clock."""
    assert applied_offset(applied, jitter) == 0


@given(applied=micros, measured=st.lists(micros, min_size=1))
def test_what_is_applied_is_never_far_from_what_was_measured(applied: int, measured: list[int]) -> None:
    """After each report the two differ by no more than the dead band."""
    for each in measured:
        applied = applied_offset(applied, each)
        assert abs(applied - each) <= DEAD_BAND


@given(offset=micros, jitter=st.lists(st.integers(-DEAD_BAND // 2, DEAD_BAND // 2)))
def test_jitter_never_moves_a_correction(offset: int, jitter: list[int]) -> None:
    """Once a correction is found, delays of less than the dead band leave it alone."""
    applied = first = applied_offset(0, offset)
    for delay in jitter:
        applied = applied_offset(applied, first + delay) if abs(first + delay) >= DEAD_BAND else first
        assert applied == first


def test_a_large_offset_is_told_once() -> None:
    """Only the step over the bound tells, in either direction."""
    assert turned_large(0, LARGE + 1)
    assert turned_large(0, -LARGE - 1)
    assert not turned_large(0, LARGE)
    assert not turned_large(LARGE + 1, LARGE + 2 * SECOND)
