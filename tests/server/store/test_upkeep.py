"""Upkeep does what is due, whoever runs it and whatever fails."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from gpufleet_server.domain import clock
from gpufleet_server.store.election import Election
from gpufleet_server.store.engine import Store
from gpufleet_server.store.retention import Keep
from gpufleet_server.store.seal import Sealed, horizon
from gpufleet_server.store.tiers import DAILY, DAY, HOUR, HOURLY, MINUTE, SEALED, begin_of, fleet_hours, fleet_states
from gpufleet_server.store.upkeep import Statistics, Upkeep, run_once, seal_everything
from sqlalchemy import Connection, Table, func, select, text

from tests.server.fixtures import NewDatabase
from tests.server.fleet import Fleet
from tests.server.store.sampled import MIDNIGHT, add, gpu, held, hours, waiting

Start = Callable[[Upkeep], Upkeep]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts upkeep, which is stopped at the end."""
    started: list[Upkeep] = []

    def run(upkeep: Upkeep) -> Upkeep:
        started.append(upkeep)
        upkeep.start()
        return upkeep

    yield run
    for upkeep in started:
        upkeep.stop()


def _wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _count(store: Store, table: Table) -> int:
    with store.reading() as connection:
        return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _fill(store: Store, fleet: Fleet, ends: list[int]) -> None:
    node_id = fleet.node("alpha")
    fleet.gpu(node_id, "GPU-1")
    add(store, *gpu(node_id, 0, [(ts, 5) for ts in ends]))


def test_all_that_is_due_is_done_at_once(store: Store, fleet: Fleet) -> None:
    """Hours are sealed, days rolled up, states counted and what is too old removed."""
    now = MIDNIGHT + DAY + hours(1)
    _fill(store, fleet, [MIDNIGHT - 50 * DAY + 1, MIDNIGHT + 1, MIDNIGHT + hours(2), now])
    done = run_once(store, now, Keep(samples=30 * DAY))
    assert done.sealed == Sealed(hours=3, rows=3, samples=3, too_late=1)
    assert done.sealed_until == horizon(now) == MIDNIGHT + DAY
    assert done.overdue(now) == 0
    assert done.overdue(now + hours(3)) == hours(3)
    assert len(held(store, SEALED)) == 2
    assert len(held(store, HOURLY)) == 3
    assert len(held(store, DAILY)) == 2
    assert len(waiting(store)) == 1
    assert _count(store, fleet_states) == 1
    assert run_once(store, now).sealed == Sealed()


def test_everything_can_be_sealed_at_once(store: Store, fleet: Fleet) -> None:
    """Also the hour that is not over, for benchmarks."""
    _fill(store, fleet, [MIDNIGHT + 1, MIDNIGHT + hours(2.5)])
    assert seal_everything(store, MIDNIGHT + hours(3)).hours == 2
    assert not waiting(store)


def test_it_goes_on_in_the_background(store: Store, fleet: Fleet, start: Start) -> None:
    """The thread does every step at once, and tells what became of it."""
    hour = begin_of(clock.now(), HOUR)
    _fill(store, fleet, [hour - hours(3) + 1, hour - hours(2) + 1])
    upkeep = start(Upkeep(store))
    steps = upkeep.statistics.steps
    _wait_for(lambda: len(steps) == 12 and all(step.last for step in steps.values()))
    _wait_for(lambda: upkeep.statistics.overdue(clock.now()) == 0)
    assert upkeep.statistics.elected
    assert upkeep.statistics.sealed.samples == 2
    names = ["partitions", "fleet_states", "gpu_counts", "fleet_hours", "seal", "days", "retention"]
    assert steps.keys() == {*names, "usage", *(f"usage_{name}" for name in ("days", "today", "long", "waste"))}
    assert not any(step.failures for step in steps.values())
    assert _count(store, fleet_hours) == 0


def test_states_are_counted_when_a_minute_begins(store: Store, fleet: Fleet, start: Start) -> None:
    """However late in a minute it was done before: no minute is left out, as boards of weeks read one of 360."""
    _fill(store, fleet, [MIDNIGHT])
    begun = clock.now() // MINUTE * MINUTE
    at = [begun + 58 * clock.SECOND]
    start(Upkeep(store, now=lambda: at[0]))
    _wait_for(lambda: _count(store, fleet_states) == 1)
    at[0] = begun + MINUTE + clock.SECOND
    _wait_for(lambda: _count(store, fleet_states) == 2, 30)
    with store.reading() as connection:
        assert list(connection.execute(select(fleet_states.c.ts).order_by(fleet_states.c.ts)).scalars()) == [
            begun,
            begun + MINUTE,
        ]


def test_a_step_that_fails_stops_no_other(
    store: Store, fleet: Fleet, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, counted and tried again; the others have their turn."""
    hour = begin_of(clock.now(), HOUR)
    _fill(store, fleet, [hour - hours(2) + 1])
    with store.writing() as connection:
        connection.execute(text("ALTER TABLE fleet_states RENAME TO hidden"))
    # No minute begins meanwhile: with that it would be tried again.
    now = begin_of(clock.now(), MINUTE) + clock.SECOND
    upkeep = start(Upkeep(store, now=lambda: now))
    steps = upkeep.statistics.steps
    _wait_for(lambda: upkeep.statistics.overdue(now) == 0 and "retention" in steps)
    assert steps["fleet_states"].failures == 1
    assert steps["fleet_states"].last is None
    assert "fleet_states failed and will be tried again" in caplog.text
    assert len(held(store, SEALED)) == 1


def test_a_fault_of_ours_ends_no_upkeep(store: Store, start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """A step that fails as nobody foresaw is counted and told with its traceback; the others have their turn."""
    faults = [TypeError("unforeseen")]

    def now() -> int:
        if faults:
            raise faults.pop()
        return clock.now()

    upkeep = start(Upkeep(store, now=now))
    steps = upkeep.statistics.steps
    _wait_for(lambda: "retention" in steps)
    assert sum(step.failures for step in steps.values()) == 1
    assert "TypeError: unforeseen" in caplog.text


def test_one_of_several_servers_does_it(postgresql: Store, start: Start) -> None:
    """The others wait, and one of them goes on when it ends."""
    first = start(Upkeep(postgresql))
    _wait_for(lambda: first.statistics.elected)
    second = start(Upkeep(postgresql, ask_every=0.05))
    time.sleep(0.2)
    assert not second.statistics.elected
    first.stop()
    assert first.statistics.elected is False
    _wait_for(lambda: second.statistics.elected)


class Followed(Store):
    """A store on which another server is elected, and this one told of it, before a transaction for which `lost` is."""

    lost: Callable[[], bool] = staticmethod(lambda: False)
    told: Callable[[], bool]

    def election(self, name: str) -> Election:
        """Renewed so often that a loss is told at once."""
        return Election(self._writer, name, renew=0.02)

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction."""
        if self.lost() and not self.told():
            with super().writing() as connection:
                later = "until = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint + 30000000"
                connection.execute(text(f"UPDATE leases SET holder = 'another', {later} WHERE name = 'upkeep'"))
            _wait_for(self.told)
        with super().writing() as connection:
            yield connection


def test_who_is_no_longer_elected_leaves_the_rest_to_others(
    new_postgresql: NewDatabase, start: Start, caplog: pytest.LogCaptureFixture
) -> None:
    """After the hour at which it is: no other one is sealed, and no other step has its turn."""
    with contextlib.closing(Followed.open(new_postgresql())) as store:
        hour = begin_of(clock.now(), HOUR)
        _fill(store, Fleet(store), [hour - hours(n) + 1 for n in range(2, 60)])
        upkeep = Upkeep(store)
        store.lost = lambda: _count(store, SEALED.table) > 0
        store.told = lambda: "another server is elected for upkeep now" in caplog.text
        start(upkeep)
        _wait_for(lambda: store.told() and not upkeep.statistics.elected)
        upkeep.stop()
        # First of all each step has made way for those that were due; then it was on with what they left.
        runs = {name: step.runs for name, step in upkeep.statistics.steps.items()}
        assert (runs["seal"], runs["days"], upkeep.statistics.sealed.hours) == (2, 1, 2)
        assert upkeep.statistics.sealed_until is None


def test_it_ends_soon_however_much_there_is_to_do(store: Store, fleet: Fleet, start: Start) -> None:
    """After the transaction that is going on; the rest is done later, by whoever."""
    hour = begin_of(clock.now(), HOUR)
    _fill(store, fleet, [hour - hours(n) + 1 for n in range(2, 60)])
    upkeep = start(Upkeep(store))
    _wait_for(lambda: "seal" in upkeep.statistics.steps)
    began = time.monotonic()
    upkeep.stop()
    assert time.monotonic() - began < 5
    assert not [thread for thread in threading.enumerate() if thread.name == "gpufleet-upkeep"]
    assert len(held(store, SEALED)) + len(waiting(store)) == 58


def test_statistics_begin_with_nothing() -> None:
    """Before the first pass it is not known whether anything is overdue."""
    assert Statistics().overdue(MIDNIGHT) is None
