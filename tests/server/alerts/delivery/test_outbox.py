"""Each change reaches a receiver once and in its order, whatever fails meanwhile."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import pytest
from gpufleet_server.alerts.delivery.channels import OutboxChannel, Standing, to_tell
from gpufleet_server.alerts.delivery.errors import NotDelivered
from gpufleet_server.alerts.delivery.settings import Filter
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.store import deliveries
from gpufleet_server.store.deliveries import DEAD, DELIVERED, WAITING, Delivery, New
from gpufleet_server.store.engine import Store
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.alerts.delivery.examples import NOW, Given, alert, resolved

DAY = 86_400 * SECOND


@dataclass
class Somebody:
    """A receiver that fails as a test says: `says` has an error for each try that fails."""

    most: int = 1
    says: list[NotDelivered | None] = field(default_factory=list)
    told: list[tuple[int, str]] = field(default_factory=list)

    def send(self, deliveries: Sequence[Delivery]) -> None:
        """Take them, or fail."""
        if self.says and (error := self.says.pop(0)) is not None:
            raise error
        self.told += [(each.alert_id, each.change) for each in deliveries]

    def close(self) -> None:
        """Nothing."""


@dataclass
class Clock:
    """A clock that a test sets, µs."""

    at: int = NOW

    def __call__(self) -> int:
        """The time."""
        return self.at


def channel(
    store: Store, source: Given, who: Somebody, clock: Clock, wanted: Filter | None = None, *, resolved: bool = True
) -> OutboxChannel:
    """A channel to somebody."""
    standing = Standing("tickets", "webhook", "http://h")
    return OutboxChannel(standing, who, wanted or Filter(), source, store, resolved=resolved, now=clock)


def states(store: Store) -> list[tuple[int, str, str]]:
    """(alert, change, state) of the whole outbox, oldest first."""
    with store.reading() as connection:
        found = deliveries.listing(connection, limit=1000)
    return [(each.alert_id, each.change, each.state) for each in reversed(found)]


def test_each_change_is_told_once(store: Store) -> None:
    """An alert fires, is looked at often, ends, and is looked at again: two tellings; also by another server."""
    source, who, clock = Given([alert(1)]), Somebody(), Clock()
    it, other = channel(store, source, who, clock), channel(store, source, who, clock)
    it.step()
    other.step()
    clock.at += 60 * SECOND
    source.alerts = [resolved(alert(1), clock.at)]
    other.step()
    it.step()
    assert who.told == [(1, "firing"), (1, "resolved")]
    assert it.standing.sent + other.standing.sent == 2


def test_what_came_and_went_unseen_is_told(store: Store) -> None:
    """An alert that fired and ended between two looks is told; one from before the receiver's first look is not."""
    source, who, clock = Given([resolved(alert(1), NOW - SECOND), alert(2)]), Somebody(), Clock()
    it = channel(store, source, who, clock)
    it.step()
    assert who.told == [(2, "firing")]
    clock.at += 60 * SECOND
    source.alerts.append(resolved(alert(3, fired_at=NOW + SECOND), NOW + 20 * SECOND))
    it.step()
    assert who.told[1:] == [(3, "firing"), (3, "resolved")]


def test_filters(store: Store) -> None:
    """Only what it is to be told; the end of it only if it wants that."""
    source, who, clock = Given([alert(1), alert(2, severity="info")]), Somebody(), Clock()
    it = channel(store, source, who, clock, Filter(severity="warning", match={"site": "ams1"}), resolved=False)
    it.step()
    source.alerts = [resolved(each) for each in source.alerts]
    it.step()
    assert who.told == [(1, "firing")]


def test_a_failure_is_tried_again_later(store: Store) -> None:
    """Not at once, and in order: the end of an alert waits until its begin was told."""
    source, clock = Given([alert(1)]), Clock()
    who = Somebody(says=[NotDelivered("no"), NotDelivered("busy", after=120.0), None])
    it = channel(store, source, who, clock)
    assert 0.5 <= it.step() <= 1
    assert it.standing.failing_since == NOW
    source.alerts = [resolved(alert(1))]
    clock.at += 2 * SECOND
    assert it.step() == 120
    clock.at += 60 * SECOND
    it.step()
    assert who.told == []
    clock.at += 61 * SECOND
    it.step()
    assert who.told == [(1, "firing"), (1, "resolved")]
    assert it.standing.failing_since is None


def test_what_nobody_takes_for_a_day_is_given_up(store: Store) -> None:
    """It stays there to be seen, with the reason, and can be told once more."""
    source, clock = Given([alert(1)]), Clock()
    who = Somebody(says=[NotDelivered("no")] * 2)
    it = channel(store, source, who, clock)
    it.step()
    clock.at += DAY
    it.step()
    with store.reading() as connection:
        (dead,) = deliveries.listing(connection, state=DEAD)
    assert (dead.error, dead.attempts, dead.finished_at) == ("no", 2, clock.at)
    it.step()
    assert who.told == []
    with store.writing() as connection:
        assert deliveries.revive(connection, [dead.id], clock.at, clock.at + DAY) == 1
    it.step()
    assert who.told == [(1, "firing")]


def test_what_no_try_can_change_is_given_up_at_once(store: Store) -> None:
    """It holds up nothing else. Of several told together nobody knows which one it is: they are tried again."""
    source, clock, who = Given([alert(1), alert(2)]), Clock(), Somebody(says=[NotDelivered("bad", final=True)])
    channel(store, source, who, clock).step()
    assert states(store) == [(1, "firing", DEAD), (2, "firing", DELIVERED)]
    source.alerts += [alert(3), alert(4)]
    many = Somebody(most=20, says=[NotDelivered("bad", final=True)])
    channel(store, source, many, clock).step()
    assert states(store)[2:] == [(3, "firing", WAITING), (4, "firing", WAITING)]


def test_who_died_while_telling_is_followed_by_another(store: Store) -> None:
    """What it had taken is another's once the lease is over, and not before."""
    source, who, clock = Given([alert(1)]), Somebody(), Clock()
    it = channel(store, source, who, clock)
    with store.writing() as connection:
        deliveries.add(connection, "tickets", [New(1, "firing", alert(1).told())], NOW, NOW + DAY)
        (taken,) = deliveries.take(connection, "tickets", NOW, NOW + 60 * SECOND, 10)
        assert deliveries.take(connection, "tickets", NOW, NOW + 60 * SECOND, 10) == []
    it.step()
    assert who.told == []
    clock.at += 61 * SECOND
    it.step()
    assert who.told == [(1, "firing")]
    with store.writing() as connection:
        # Who was thought dead comes back: it has no say any more.
        deliveries.put_back(connection, [taken], NOW, "late")
    assert states(store) == [(1, "firing", DELIVERED)]


def test_many_who_take_at_once_share(store: Store) -> None:
    """Nobody gets what another one has, and nothing is left."""
    with store.writing() as connection:
        for change in ("firing", "resolved"):
            deliveries.add(connection, "tickets", [New(number, change, {}) for number in range(20)], NOW, NOW + DAY)

    def work(_number: int) -> list[tuple[int, str]]:
        mine: list[tuple[int, str]] = []
        while True:
            with store.writing() as connection:
                taken = deliveries.take(connection, "tickets", NOW, NOW + DAY, 3)
            with store.writing() as connection:
                deliveries.finish(connection, taken, NOW)
                left = deliveries.counts(connection).get(("tickets", WAITING), 0)
            mine += [(each.alert_id, each.change) for each in taken]
            if not left:
                return mine

    with ThreadPoolExecutor(4) as pool:
        told = [each for mine in pool.map(work, range(4)) for each in mine]
    assert len(told) == len(set(told)) == 40


def test_upkeep_of_the_outbox(store: Store) -> None:
    """What was delivered goes after its time; what a receiver that is no more was to be told is given up."""
    with store.writing() as connection:
        deliveries.add(connection, "gone", [New(1, "firing", {})], NOW, NOW + DAY)
        deliveries.add(connection, "there", [New(1, "firing", {})], NOW, NOW + DAY)
        deliveries.finish(connection, deliveries.take(connection, "there", NOW, NOW + 1, 1), NOW)
        assert deliveries.expire(connection, NOW + DAY) == 0
        assert deliveries.expire(connection, NOW + DAY + 1) == 1
        assert deliveries.counts(connection) == {("gone", DEAD): 1, ("there", DELIVERED): 1}
        assert deliveries.forget(connection, NOW) == 0
        assert deliveries.forget(connection, NOW + 1) == 1
        assert deliveries.counts(connection) == {("gone", DEAD): 1}


@settings(deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.booleans(), st.booleans()),
        max_size=20,
    )
)
def test_whatever_is_seen_each_alert_is_told_as_it_went(steps: list[tuple[int, bool, bool]]) -> None:
    """For any looks at any states: begin and end of an alert once each, in that order, and no end without a begin."""
    known: set[tuple[int, str]] = set()
    told: list[tuple[int, str]] = []
    newest: int | None = None
    ended: dict[int, int] = {}
    for moment, (number, ends, wants) in enumerate(steps, 1):
        if ends:
            ended.setdefault(number, moment)
        it = replace(alert(number), fired_at=0, resolved_at=ended.get(number))
        new = to_tell([it], known, newest, resolved=wants)
        told += [(each.alert_id, each.change) for each in new]
        known |= {(each.alert_id, each.change) for each in new}
        newest = moment if new else newest
    assert len(told) == len(set(told))
    for number in {number for number, _ in told}:
        assert [change for each, change in told if each == number] in (["firing"], ["firing", "resolved"])


@pytest.mark.parametrize("order", [1, -1])
def test_they_are_told_in_the_order_in_which_they_happened(order: int) -> None:
    """Whatever the order in which they were seen."""
    alerts = [alert(1, fired_at=5), resolved(alert(2, fired_at=1), 9), alert(3, fired_at=7)]
    told = [(each.alert_id, each.change) for each in to_tell(alerts[::order], set(), 0)]
    assert told == [(2, "firing"), (1, "firing"), (3, "firing"), (2, "resolved")]
