"""Evaluates rules: on a schedule, by one server of all; and at once, by every server, for events that it committed."""

import dataclasses
import logging
import threading
import time
import zlib
from collections.abc import Callable, Collection, Iterable

from sqlalchemy import func, select

from gpufleet_server.alerts.evaluation import Evaluation
from gpufleet_server.alerts.overrides import Overrides
from gpufleet_server.alerts.servers import Facts, Self
from gpufleet_server.domain import clock
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.xids import Table
from gpufleet_server.store.alerts import rule_runs
from gpufleet_server.store.engine import Store
from gpufleet_server.store.errors import OF_THE_STORE, cause

_LOG = logging.getLogger(__name__)

INTERVAL_S = 15.0
# Events that come together are evaluated together, s.
_GATHER_S = 0.05
# Rules that are looked at more seldom than this have their first turn within so long, s.
_OFTEN_S, _SPREAD_S = 60, 240
# How often a server that is not elected asks again, s.
_ELECTION_S = 5.0
# How often alerts that go on are told with what was measured since, µs.
_TEXTS = 60 * SECOND
# Without a round for so long nobody listened to nodes either, µs.
_GAP = 60 * SECOND
_KNOWN = (*OF_THE_STORE, Problem)


@dataclasses.dataclass(slots=True)
class Statistics:
    """What this server has evaluated since it started. `last`: when a round last succeeded, µs."""

    elected: bool = False
    rounds: int = 0
    round_failures: int = 0
    round_seconds: float = 0.0
    event_rounds: int = 0
    event_failures: int = 0
    event_seconds: float = 0.0
    changes: int = 0
    last: int | None = None


class Engine:
    """Runs evaluations in two threads, so that a round over the fleet holds no event up."""

    def __init__(
        self,
        store: Store,
        overrides: Overrides,
        now: Callable[[], int] = clock.now,
        *,
        interval: float = INTERVAL_S,
        xids: Table | None = None,
        changed: Callable[[], None] = lambda: None,
        facts: Callable[[], Facts] | None = None,
        spread: bool = False,
    ) -> None:
        """A round every `interval` s; `xids` are those in force.

        `changed` is called after a commit in which an alert began, fired or ended. `facts` are what this server tells
        of itself, elected or not. With `spread` rules that are looked at seldom have their first turns one after the
        other, not all in the first round.
        """
        self.statistics = Statistics()
        self._store, self._now, self._interval, self._changed = store, now, interval, changed
        self._overrides, self._evaluation = overrides, Evaluation(store, overrides, xids)
        self._on = {name: each for name, each in overrides.rules.items() if each.manner.enabled}
        self._own = Self(store, facts, now()) if facts is not None else None
        self._spread, self._first = spread, 0
        self._ran: dict[str, int] = {}
        self._texts, self._heard_since, self._told_at = 0, 0, 0
        self._events: dict[str, set[int]] = {}
        self._lock, self._stopping = threading.Condition(), threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin."""
        self._stopping.clear()
        works = {"gpufleet-alerts": self._run_rounds, "gpufleet-alerts-events": self._run_events}
        self._threads = [threading.Thread(target=work, name=name, daemon=True) for name, work in works.items()]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after what is being evaluated now."""
        self._stopping.set()
        with self._lock:
            self._lock.notify_all()
        for thread in self._threads:
            thread.join()
        self._threads = []

    @property
    def trouble(self) -> str | None:
        """Why alerts are not evaluated here, or None."""
        if self._threads and not all(thread.is_alive() for thread in self._threads):
            return "a thread that evaluates alerts has ended; the server's log says why"
        return None

    def happened(self, events: Iterable[tuple[str, int]]) -> None:
        """Events of these kinds were committed, of these nodes: evaluate what they concern. From any thread."""
        with self._lock:
            for kind, node_id in events:
                self._events.setdefault(kind, set()).add(node_id)
            self._lock.notify_all()

    def round(self, at: int | None = None) -> int:
        """Evaluate what is due at a time (µs), now without one, in the caller's thread; how many alerts changed."""
        at = self._now() if at is None else at
        began = time.monotonic()
        self._listen(at)
        self._first = self._first or at
        due = [name for name, each in self._on.items() if self._due(name, each.rule.every, at)]
        texts = at - self._texts >= _TEXTS
        made = self._evaluation.of_fleet(due, at, self._heard_since, texts=texts)
        self._ran.update(dict.fromkeys(due, at))
        self._texts = at if texts else self._texts
        self._told(made)
        self.statistics.rounds += 1
        self.statistics.round_seconds += time.monotonic() - began
        self.statistics.last = at
        return made

    def take_events(self, at: int | None = None) -> int:
        """Evaluate what the events since the last time concern, in the caller's thread; how many alerts changed."""
        with self._lock:
            events, self._events = self._events, {}
        concerned = {kind: nodes for kind, nodes in events.items() if self._rules_for([kind])}
        node_ids = sorted({node for nodes in concerned.values() for node in nodes})
        if not node_ids:
            return 0
        began = time.monotonic()
        at = self._now() if at is None else at
        made = self._evaluation.of_nodes(self._rules_for(concerned), node_ids, at)
        self._told(made)
        self.statistics.event_rounds += 1
        self.statistics.event_seconds += time.monotonic() - began
        return made

    def _rules_for(self, kinds: Collection[str]) -> list[str]:
        return [name for name, each in self._on.items() if any(kind in each.rule.on_events for kind in kinds)]

    def _due(self, name: str, every: int, at: int) -> bool:
        last = self._ran.get(name)
        if last is None:
            turn = zlib.crc32(name.encode()) % _SPREAD_S if self._spread and every > _OFTEN_S else 0
            return at - self._first >= turn * SECOND
        # A round that is a little early still is the one.
        return at - last >= (every - self._interval / 2) * SECOND

    def _listen(self, at: int) -> None:
        """After a time without rounds, of any server, nodes have to be given the time to be heard again."""
        gap = max(_GAP, int(3 * self._interval * SECOND))
        if at - (self.statistics.last or 0) <= gap:
            return
        with self._store.reading() as connection:
            last: int | None = connection.execute(select(func.max(rule_runs.c.ran_at))).scalar_one()
        if last is None or at - last > gap:
            self._heard_since = at

    def _told(self, made: int) -> None:
        if made:
            self.statistics.changes += made
            self._changed()

    def _run_rounds(self) -> None:
        election = self._store.election("alerts")
        try:
            while not self._stopping.is_set():
                began = time.monotonic()
                self.statistics.elected = election.won()
                self._tried(self._tell_of_self)
                if self.statistics.elected:
                    self.statistics.round_failures += not self._tried(self.round)
                    self._stopping.wait(max(0.0, self._interval - (time.monotonic() - began)))
                else:
                    self._stopping.wait(min(_ELECTION_S, self._interval))
        finally:
            self.statistics.elected = False
            election.close()
            if self._own is not None:
                self._tried(self._own.remove)

    def _tell_of_self(self) -> None:
        now = self._now()
        if self._own is not None and now - self._told_at >= (self._interval / 2) * SECOND:
            self._own.write(now)
            self._told_at = now

    def _run_events(self) -> None:
        while not self._stopping.is_set():
            with self._lock:
                self._lock.wait_for(lambda: bool(self._events) or self._stopping.is_set())
            self._stopping.wait(_GATHER_S)
            self.statistics.event_failures += not self._tried(self.take_events)

    def _tried(self, work: Callable[[], object]) -> bool:
        try:
            work()
        except Exception as error:  # noqa: BLE001
            # Nothing that goes wrong with one round may end the thread: nobody would be told of anything.
            ours = error if not isinstance(error, _KNOWN) else None
            _LOG.warning("alerts: a round failed and will be tried again: %s", cause(error), exc_info=ours)
            return False
        return True
