"""What an agent has to tell, kept as runs."""

from gpufleet_agent.wire import State
from gpufleet_server.simulate.outbox import Outbox
from gpufleet_server.simulate.reports import Closed
from hypothesis import given
from hypothesis import strategies as st

EVERY = 10
STATE = State(1, "g", "power_limit", 1)
# Report after the usual time, after another one, with states, with a roster; take one out; give one up; skip some time.
_ACTS = ["usual", "usual", "usual", "odd", "states", "roster", "pop", "drop", "skip"]
ACTS = st.lists(st.sampled_from(_ACTS), max_size=60)


@given(st.integers(0, 5), ACTS)
def test_runs_are_what_single_reports_would_be(before: int, acts: list[str]) -> None:
    """Whatever happens in whatever order: the same reports come out, in order, none missing and none twice."""
    outbox, plain = Outbox(EVERY, 1000), [(n + 1, 1000 - (before - n) * EVERY) for n in range(before)]
    outbox.begin_with(before)
    expected = [(seq, since, since + EVERY, 0, seq == 1) for seq, since in plain]
    seq, until, out = before, 1000, []
    for act in acts:
        if act in ("pop", "drop"):
            if expected:
                out.append(expected.pop(0))
                assert _plain(next(outbox.heads(1))) == out[-1]
                outbox.pop() if act == "pop" else outbox.drop()
        elif act == "skip":
            until += 3
            outbox.skip(until)
        else:
            seq, since, until = seq + 1, until, until + (EVERY if act != "odd" else 4)
            outbox.close(until, [STATE] if act == "states" else [], with_roster=act == "roster")
            expected.append((seq, since, until, int(act == "states"), act == "roster"))
        assert outbox.waiting == len(expected)
    assert outbox.dropped == acts.count("drop") - _in_vain(before, acts)
    for one in expected:
        ahead = [_plain(closed) for closed in outbox.heads(3)]
        assert ahead[0] == one
        outbox.pop()
    assert list(outbox.heads(1)) == []


def _plain(closed: Closed) -> tuple[int, int, int, int, bool]:
    return closed.seq, closed.since, closed.until, len(closed.states), closed.with_roster


def _in_vain(waiting: int, acts: list[str]) -> int:
    """How often something was to be given up and nothing waited."""
    vain = 0
    for act in acts:
        if act in ("pop", "drop"):
            vain += act == "drop" and not waiting
            waiting = max(waiting - 1, 0)
        elif act != "skip":
            waiting += 1
    return vain


def test_a_day_takes_no_more_than_a_report() -> None:
    """Reports that follow each other evenly are one run, and each knows how many waited before it."""
    outbox = Outbox(EVERY, 0)
    for number in range(1, 10_001):
        outbox.close(number * EVERY)
    assert [closed.backlog.reports for closed in outbox.heads(3)] == [0, 1, 2]
    assert len(list(outbox.heads(20_000))) == outbox.waiting == 10_000


@given(
    st.integers(0, 5), st.lists(st.sampled_from(["usual", "usual", "odd", "states", "roster"]), max_size=40), st.data()
)
def test_joined_reports_are_those_that_follow_each_other(before: int, acts: list[str], data: st.DataObject) -> None:
    """However many are taken at once: from the first one's beginning to the last one's end, none left out."""
    outbox, until = Outbox(EVERY, 1000), 1000
    outbox.begin_with(before)
    for act in acts:
        until += EVERY if act != "odd" else 4
        outbox.close(until, [STATE] if act == "states" else [], with_roster=act == "roster")
    while outbox.waiting:
        closed, count = outbox.joined(data.draw(st.integers(1, 9)))
        singles = list(outbox.heads(count))
        first, last = singles[0], singles[-1]
        assert (closed.since, closed.until, closed.seq) == (first.since, last.until, last.seq)
        assert (closed.first_seq or closed.seq, closed.backlog) == (first.seq, last.backlog)
        assert count == len(singles) == last.seq - first.seq + 1
        assert count == 1 or not any(one.states or one.with_roster for one in singles)
        outbox.pop(count)
        assert outbox.waiting == before + len(acts) - last.seq
