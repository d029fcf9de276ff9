"""What has to be done beside taking reports and answering: sealing, rollups, counts, retention. One server does it."""

import dataclasses
import logging
import threading
import time
from collections.abc import Callable

from gpufleet_server.domain import clock
from gpufleet_server.store import partitions
from gpufleet_server.store.engine import Store
from gpufleet_server.store.errors import OF_THE_STORE, cause
from gpufleet_server.store.fleet_rollups import count_states, roll_hours
from gpufleet_server.store.fold import Folded, fold
from gpufleet_server.store.gpu_counts import count_gpus
from gpufleet_server.store.retention import Keep, drop_emptied, retain
from gpufleet_server.store.rollups import roll_days
from gpufleet_server.store.seal import Sealed, horizon, seal, seal_until
from gpufleet_server.store.tiers import DAY
from gpufleet_server.store.usage_days import add_up_days, add_up_running_days
from gpufleet_server.store.usage_long import make_long
from gpufleet_server.store.usage_waste import find_worst

_LOG = logging.getLogger(__name__)

# How often a server that is not elected asks again, s.
_ELECTION_S = 5.0
# What is to be done on time is done so long after it: a thread that wakes early would do it for the interval before.
_AFTER_S = 0.1
# A step works for as long as it paused, but no longer than this: what comes in is not kept waiting.
_LONGEST_PAUSE_S = 1.0

GoOn = Callable[[], bool]


@dataclasses.dataclass(slots=True)
class Done:
    """What became of a step: how often it ran and failed, the seconds it took, and when it last succeeded (µs).

    `cpu_seconds` are this process's; the database's own are not known.
    """

    runs: int = 0
    failures: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    last: int | None = None


@dataclasses.dataclass(slots=True)
class Statistics:
    """What upkeep has done since the server started; all is nothing where another server is elected."""

    elected: bool = False
    sealed: Sealed = dataclasses.field(default_factory=Sealed)
    folded: Folded = dataclasses.field(default_factory=Folded)
    # All that ended at this time (µs) or before is sealed, but for what came since; None until that was seen.
    sealed_until: int | None = None
    removed: dict[str, int] = dataclasses.field(default_factory=dict)
    steps: dict[str, Done] = dataclasses.field(default_factory=dict)

    def overdue(self, now: int) -> int | None:
        """By how much sealing is behind at `now`, µs; 0 is as it should be."""
        return None if self.sealed_until is None else max(0, horizon(now) - self.sealed_until)


@dataclasses.dataclass(slots=True)
class _Step:
    """Work to be done every so many seconds. It is given the time (µs) and asks before each transaction to go on.

    One that made way for others has something `left` and goes on after them. One that may take only a `share` of all
    time is done the more seldom the longer it takes, and has its next turn then. One that is `on_time` begins with
    full intervals of the clock, and leaves none out.
    """

    name: str
    every: float
    work: Callable[[int, GoOn], None]
    share: float = 1.0
    on_time: bool = False
    at: float = 0.0
    left: bool = False


class Upkeep:
    """Does it in a thread of its own while this server is elected. No step that fails keeps another from its turn."""

    def __init__(
        self,
        store: Store,
        keep: Keep | None = None,
        now: Callable[[], int] = clock.now,
        *,
        ask_every: float = _ELECTION_S,
    ) -> None:
        """While another server is elected it asks every `ask_every` seconds."""
        self.statistics, self._ask_every = Statistics(), ask_every
        self._store, self._keep, self._now = store, keep or Keep(), now
        self._election = store.election("upkeep")
        self._steps = [
            _Step("partitions", 600.0, self._make_partitions),
            _Step("fleet_states", 60.0, self._count_states, on_time=True),
            _Step("gpu_counts", 60.0, self._count_gpus),
            _Step("fleet_hours", 60.0, self._roll_hours),
            _Step("seal", 60.0, self._seal),
            _Step("days", 60.0, self._roll_days),
            _Step("usage", 20.0, self._fold_usage),
            _Step("usage_days", 60.0, self._add_up_usage),
            _Step("usage_today", 60.0, self._add_up_today, share=0.01),
            _Step("usage_long", 60.0, self._make_long, share=0.05),
            _Step("usage_waste", 60.0, self._find_worst, share=0.01),
            _Step("retention", 600.0, self._retain),
        ]
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._since, self._paused, self._interrupted = 0.0, 0.0, False

    def prepare(self) -> None:
        """Make the partitions of now. Where readers are in the way that is tried again: all is stored without them."""
        try:
            self._make_partitions(self._now(), lambda: True)
        except OF_THE_STORE as error:
            _LOG.warning("partitions of now are not made yet: %s", cause(error))

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._run, name="gpufleet-upkeep", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End after the transaction that is going on."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def run_once(self, now: int) -> None:
        """Do all that is due at `now` (µs), in the caller's thread. What goes wrong is the caller's."""
        for step in self._steps:
            step.work(now, lambda: True)

    def _run(self) -> None:
        try:
            while not self._stopping.is_set():
                self._do_due()
                self._stopping.wait(min(self._ask_every, self._idle()))
        finally:
            self.statistics.elected = False
            self._election.close()

    def _idle(self) -> float:
        """Seconds until a step is due."""
        if not self.statistics.elected:
            return self._ask_every
        if any(step.left for step in self._steps):
            return 0.0
        return max(0.0, min(step.at for step in self._steps) - time.monotonic())

    def _do_due(self) -> None:
        for step in self._steps:
            if not self._is_its_turn():
                return
            if step.left or step.at <= time.monotonic():
                self._do(step)

    def _is_its_turn(self) -> bool:
        """Whether it is elected, and not to end. While its lease lasts that is told by the clock alone."""
        self.statistics.elected = not self._stopping.is_set() and self._election.won()
        return self.statistics.elected

    def _do(self, step: _Step) -> None:
        done = self.statistics.steps.setdefault(step.name, Done())
        began, cpu = time.monotonic(), time.thread_time()
        self._since, self._paused = began, 0.0
        passed = self._now() / clock.SECOND % step.every - _AFTER_S if step.on_time else 0.0
        step.at, step.left, self._interrupted = began + step.every - passed, False, False
        try:
            step.work(self._now(), self._go_on)
            done.last = self._now()
            step.left = self._interrupted and step.share == 1.0
        except Exception as error:  # noqa: BLE001
            # Nothing that goes wrong with one step may end the thread: the store would grow until its disk is full.
            done.failures += 1
            ours = error if not isinstance(error, OF_THE_STORE) else None
            _LOG.warning("upkeep: %s failed and will be tried again: %s", step.name, cause(error), exc_info=ours)
        took = time.monotonic() - began
        step.at = max(step.at, began + (took - self._paused) / step.share)
        done.runs += 1
        done.seconds += took
        done.cpu_seconds += time.thread_time() - cpu

    def _go_on(self) -> bool:
        """Pause as long as was worked; not when other steps are due, another server is elected, or all is to end."""
        worked = time.monotonic()
        self._stopping.wait(min(worked - self._since, _LONGEST_PAUSE_S))
        self._since = time.monotonic()
        self._paused += self._since - worked
        self._interrupted = not self._is_its_turn() or any(step.at <= self._since for step in self._steps)
        return not self._interrupted

    def _make_partitions(self, now: int, _go_on: GoOn) -> None:
        for cut in partitions.CUTS:
            # Each by itself: who waits for a reader of one table must not keep others from reading the rest.
            with self._store.writing() as connection:
                partitions.make_ahead(connection, now, cuts=[cut])

    def _seal(self, now: int, go_on: GoOn) -> None:
        self.statistics.sealed += seal(self._store, now, self._keep.samples, go_on)
        if not self._interrupted:
            self.statistics.sealed_until = horizon(now)
            drop_emptied(self._store, now, horizon(now))

    def _roll_days(self, now: int, go_on: GoOn) -> None:
        roll_days(self._store, now, go_on)

    def _fold_usage(self, now: int, go_on: GoOn) -> None:
        self.statistics.folded += fold(self._store, now, go_on)

    def _add_up_usage(self, now: int, go_on: GoOn) -> None:
        add_up_days(self._store, now, go_on)

    def _add_up_today(self, now: int, _go_on: GoOn) -> None:
        add_up_running_days(self._store, now)

    def _make_long(self, now: int, go_on: GoOn) -> None:
        make_long(self._store, now, go_on)

    def _find_worst(self, now: int, go_on: GoOn) -> None:
        find_worst(self._store, now, go_on, since=now - self._keep.usage + DAY if self._keep.usage else 0)

    def _roll_hours(self, now: int, go_on: GoOn) -> None:
        roll_hours(self._store, now, go_on)

    def _count_states(self, now: int, _go_on: GoOn) -> None:
        count_states(self._store, now)

    def _count_gpus(self, now: int, _go_on: GoOn) -> None:
        count_gpus(self._store, now)

    def _retain(self, now: int, go_on: GoOn) -> None:
        for name, count in retain(self._store, self._keep, now, go_on).items():
            self.statistics.removed[name] = self.statistics.removed.get(name, 0) + count
            _LOG.info("removed %d of %s that were too old", count, name)


def run_once(store: Store, now: int, keep: Keep | None = None) -> Statistics:
    """Do all that is due at `now` (µs), whoever is elected."""
    upkeep = Upkeep(store, keep)
    upkeep.run_once(now)
    return upkeep.statistics


def seal_everything(store: Store, until: int) -> Sealed:
    """Seal all that ended at `until` (µs) or before, however new, and drop the partitions that this emptied."""
    done = seal_until(store, until)
    drop_emptied(store, until, until)
    return done
