"""The life of an alert, for any sequence of evaluations."""

from collections.abc import Sequence

from gpufleet_server.domain.alerting import AlertState, Life, Truth, step
from hypothesis import given
from hypothesis import strategies as st

Evaluated = tuple[int, Truth]
# Times rise by up to two minutes from evaluation to evaluation, in s.
_EVALUATIONS = st.lists(st.tuples(st.integers(0, 120), st.sampled_from(Truth)), max_size=40).map(
    lambda steps: [(sum(gap for gap, _ in steps[: n + 1]), truth) for n, (_, truth) in enumerate(steps)]
)
_LENGTHS = st.sampled_from([0, 30, 60, 300])


def _lives(evaluations: Sequence[Evaluated], wait: int, keep: int) -> list[Life | None]:
    """How an alert stands after each of them; one that ended makes room for another."""
    life: Life | None = None
    lives: list[Life | None] = []
    for at, truth in evaluations:
        before = None if life is not None and life.state is AlertState.RESOLVED else life
        life = step(before, truth, at, wait=wait, keep=keep)
        lives.append(life)
    return lives


@given(_EVALUATIONS, _LENGTHS, _LENGTHS)
def test_it_does_not_fire_twice_without_an_end_between(evaluations: list[Evaluated], wait: int, keep: int) -> None:
    """Whoever is told that it fires is told that it ended before being told again."""
    told: list[str] = []
    before: Life | None = None
    for life in _lives(evaluations, wait, keep):
        fired = life is not None and life.fired_at is not None
        if fired and life is not None and (before is None or before.fired_at != life.fired_at):
            told.append("fired")
        if life is not None and life.state is AlertState.RESOLVED:
            told.append("resolved")
        before = life
    assert told == ["fired" if n % 2 == 0 else "resolved" for n in range(len(told))]


@given(_EVALUATIONS, _LENGTHS)
def test_it_waits(evaluations: list[Evaluated], wait: int) -> None:
    """It fires when the condition held at every evaluation over `wait`, and not before."""
    known = [(at, truth) for at, truth in evaluations if truth is not Truth.UNKNOWN]
    since: int | None = None
    for (at, truth), life in zip(known, _lives(known, wait, 0), strict=True):
        since = None if truth is Truth.FALSE else at if since is None else since
        fires = life is not None and life.state is AlertState.FIRING
        assert fires == (since is not None and at - since >= wait)


@given(_EVALUATIONS, _LENGTHS)
def test_time_of_which_nothing_is_known_is_not_waited(evaluations: list[Evaluated], wait: int) -> None:
    """With that time cut out of the story it fires after the same evaluations."""
    cut, gone, last = list[Evaluated](), 0, 0
    for at, truth in evaluations:
        if truth is Truth.UNKNOWN:
            gone += at - last
        else:
            cut.append((at - gone, truth))
        last = at

    def fires(lives: list[Life | None], which: Sequence[Evaluated]) -> list[bool]:
        firing = AlertState.FIRING
        known = zip(lives, which, strict=True)
        return [life is not None and life.state is firing for life, (_, truth) in known if truth is not Truth.UNKNOWN]

    # Without `keep`, which counts all time.
    assert fires(_lives(evaluations, wait, 0), evaluations) == fires(_lives(cut, wait, 0), cut)


@given(_EVALUATIONS, _LENGTHS, _LENGTHS)
def test_it_is_kept(evaluations: list[Evaluated], wait: int, keep: int) -> None:
    """It ends no sooner than `keep` after it was last known to hold, and at the first evaluation that knows then."""
    lives = _lives(evaluations, wait, keep)
    for n, life in enumerate(lives):
        at, truth = evaluations[n]
        if life is not None and life.state is AlertState.RESOLVED:
            last = max(earlier for earlier, was in evaluations[:n] if was is Truth.TRUE)
            assert truth is Truth.FALSE
            assert life.resolved_at == at >= last + keep
        elif life is not None and life.state is AlertState.FIRING and truth is Truth.FALSE:
            assert at - life.last_true < keep


@given(_EVALUATIONS, _LENGTHS, _LENGTHS, st.integers(1, 3))
def test_replays_change_nothing(evaluations: list[Evaluated], wait: int, keep: int, times: int) -> None:
    """The same evaluation again, or an earlier one after a later one, leaves the alert as it is."""
    life: Life | None = None
    done: list[Evaluated] = []
    for at, truth in evaluations:
        life = step(life, truth, at, wait=wait, keep=keep)
        done.append((at, truth))
        again = life
        for _ in range(times):
            again = step(again, truth, at, wait=wait, keep=keep)
        assert again == life
        if life is not None:
            older = [(then, was) for then, was in done if then < life.last_true]
            assert all(step(life, was, then, wait=wait, keep=keep) == life for then, was in older)
            life = None if life.state is AlertState.RESOLVED else life
