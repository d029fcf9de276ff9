"""The network is cut at each request in turn: what is told is what is there, and a further push completes it."""

import pytest
from gpufleet_dashboards.push.apply import Result, State
from gpufleet_dashboards.push.failure import NoAnswer, PushError
from gpufleet_dashboards.push.report import cut_short

from tests.dashboards.grafana_stand_in import StandIn, serving
from tests.dashboards.push.pushing import held, push, states

WRITTEN = {State.CREATED, State.UPDATED, State.SAME}


def _requests() -> tuple[int, int]:
    """How many requests a push into an empty Grafana takes, and how many of them write."""
    with serving() as stand_in:
        found = push(stand_in)
        return stand_in.faults.asked, found.written


def _cut(grafana: StandIn, at: int, *, before: bool, for_good: bool) -> Result | None:
    """A push that is cut; None where it ended before anything was to be written."""
    grafana.faults.reset()
    grafana.faults.cut_at, grafana.faults.before, grafana.faults.for_good = at, before, for_good
    try:
        return push(grafana)
    except NoAnswer as error:
        assert "was cut" in str(error)
        return None
    finally:
        grafana.faults.reset()


@pytest.mark.parametrize("for_good", [False, True], ids=["once", "for good"])
@pytest.mark.parametrize("before", [True, False], ids=["not done", "done"])
def test_what_is_told_is_what_is_there(before: bool, for_good: bool) -> None:
    """After each cut: what is told as written is there, what as not written is not; then a push makes it whole."""
    requests, writes = _requests()
    for at in range(1, requests + 1):
        with serving() as grafana:
            found = _cut(grafana, at, before=before, for_good=for_good)
            there = held(grafana)
            if found is None:
                assert at <= requests - writes and there == set()
            else:
                assert at > requests - writes and isinstance(found.error, NoAnswer)
                _agree(found, there, for_good)
            push(grafana)
            assert len(held(grafana)) == writes and push(grafana).written == 0
            assert grafana.api.violations == []


def _agree(found: Result, there: set[str], for_good: bool) -> None:
    told = states(found)
    unknown = {uid for uid, state in told.items() if state is State.UNKNOWN}
    assert {uid for uid, state in told.items() if state in WRITTEN} == there - unknown
    assert {uid for uid, state in told.items() if state is State.NOT_WRITTEN}.isdisjoint(there)
    # Asked again, Grafana tells; only where it can't be is one thing not known, and never more.
    assert len(unknown) == int(for_good)


def test_it_is_said_in_one_sentence(grafana: StandIn) -> None:
    """Each thing by its name."""
    requests, _ = _requests()
    found = _cut(grafana, requests - 1, before=True, for_good=True)
    assert found is not None
    assert cut_short(found.outcomes) == (
        "written: folder gpufleet, data source gpufleet-pg, board Fleet, board Gpu; "
        "not written: alert rules gpufleet; not known: board Node. A further push completes it"
    )


def test_a_late_answer_leaves_it_open(grafana: StandIn) -> None:
    """After a timeout, what is not there yet may still come."""
    push(grafana)
    grafana.faults.wait = 0.6
    with pytest.raises(PushError, match=r"no answer within 0\.2 s; see --timeout"):
        push(grafana, timeout=0.2)
