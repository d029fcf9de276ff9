"""The one thread that writes reports: it takes all that wait, commits them at once, and then answers."""

import collections
import concurrent.futures
import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator

from gpufleet_agent.wire import Ack
from sqlalchemy import Connection, delete
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, OperationalError

from gpufleet_server.domain import clock
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest.memory import Memory
from gpufleet_server.ingest.prepare import Prepared
from gpufleet_server.ingest.record import record
from gpufleet_server.ingest.statistics import Statistics, Tally
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import streams
from gpufleet_server.store.tokens import TokenCache

_LOG = logging.getLogger(__name__)

_RETRY_S = 5
# The database refuses what the report says, and will each time: an agent that sent it again would never get on.
_OF_THE_DATA = (IntegrityError, DataError, OverflowError, UnicodeError)
_CHORES_S = 60.0
_FORGET_STREAM = 400 * 86_400 * clock.SECOND


@dataclasses.dataclass(slots=True)
class _Job:
    prepared: Prepared
    answer: concurrent.futures.Future[Ack]


class Writer:
    """Bounded by the number of reports that wait and by the memory they take; beyond it a report gets 503."""

    def __init__(
        self,
        store: Store,
        tokens: TokenCache,
        statistics: Statistics,
        *,
        now: Callable[[], int] = clock.now,
        max_reports: int = 2000,
        max_bytes: int = 256 << 20,
        batch: int = 256,
    ) -> None:
        self._store, self._tokens, self._statistics, self._now = store, tokens, statistics, now
        self._max_reports, self._max_bytes, self._batch = max_reports, max_bytes, batch
        self._memory = Memory()
        self._waiting: collections.deque[_Job] = collections.deque()
        self._changed = threading.Condition()
        self._stopping = True
        self._thread: threading.Thread | None = None
        self._chores_at = time.monotonic() + _CHORES_S

    def start(self) -> None:
        """Begin to write."""
        self._stopping = False
        # A daemon, so that a server that is forced to end does: what was not committed was not acknowledged either.
        self._thread = threading.Thread(target=self._run, name="gpufleet-writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more, write what waits, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @property
    def ready(self) -> bool:
        """Whether a report would be taken now."""
        return self._thread is not None and self._thread.is_alive() and not self._stopping and self._has_room(0)

    def submit(self, prepared: Prepared) -> concurrent.futures.Future[Ack]:
        """Have a report written. The future gives the Ack once it is committed, or a Problem. Problem 503 when full."""
        job = _Job(prepared, concurrent.futures.Future())
        with self._changed:
            if self._stopping or not self._has_room(prepared.size):
                problem = "the server is stopping" if self._stopping else "too many reports wait to be written"
                raise Problem(503, problem, retry_after=_RETRY_S)
            self._waiting.append(job)
            self._statistics.queued_reports = len(self._waiting)
            self._statistics.queued_bytes += prepared.size
            self._changed.notify()
        return job.answer

    def _has_room(self, size: int) -> bool:
        # One report is always taken, however large: otherwise it never could be.
        queued = self._statistics.queued_bytes
        return len(self._waiting) < self._max_reports and (not self._waiting or queued + size <= self._max_bytes)

    def _run(self) -> None:
        while True:
            jobs = self._take()
            if not jobs and self._stopping:
                break
            with self._isolated(jobs):
                self._write(jobs)
        with self._isolated([]):
            self._do_chores()

    def _take(self) -> list[_Job]:
        with self._changed:
            self._changed.wait_for(
                lambda: self._waiting or self._stopping, max(0.0, self._chores_at - time.monotonic())
            )
            jobs = [self._waiting.popleft() for _ in range(min(len(self._waiting), self._batch))]
            self._statistics.queued_reports = len(self._waiting)
            self._statistics.queued_bytes -= sum(job.prepared.size for job in jobs)
        # A request that was given up meanwhile is not written: its agent sends it again.
        return [job for job in jobs if job.answer.set_running_or_notify_cancel()]

    @contextlib.contextmanager
    def _isolated(self, jobs: list[_Job]) -> Iterator[None]:
        # Nothing that goes wrong with one batch may end the thread: every later report would wait for ever.
        try:
            yield
        except Exception as error:  # noqa: BLE001
            self._memory.forget_all()
            self._statistics.failed_commits += 1
            busy = isinstance(error, OperationalError)
            # A full disk says so in a line, again and again; the rest needs to be found.
            _LOG.error("%d reports could not be committed: %s", len(jobs), _cause(error), exc_info=not busy)
            why = "the store is busy or full" if busy else "the store failed"
            for job in jobs:
                if not job.answer.done():
                    job.answer.set_exception(Problem(503, f"{why}; nothing was stored", retry_after=_RETRY_S))

    def _write(self, jobs: list[_Job]) -> None:
        if jobs:
            began = time.perf_counter()
            with self._store.writing() as connection:
                outcomes = [self._one(connection, job.prepared) for job in jobs]
            self._statistics.commit_seconds += time.perf_counter() - began
            self._statistics.commits += 1
            for job, outcome in zip(jobs, outcomes, strict=True):
                self._answer(job, outcome)
        if time.monotonic() >= self._chores_at:
            self._do_chores()

    def _one(self, connection: Connection, prepared: Prepared) -> tuple[Ack, Tally] | Problem:
        node, seq = prepared.report.node, prepared.report.seq
        try:
            return self._record(connection, prepared)
        except OperationalError:
            raise
        except Problem as problem:
            self._memory.forget(node)
            return problem
        except Exception as error:  # noqa: BLE001
            # Its savepoint is rolled back; the others of the batch are whole.
            self._memory.forget(node)
            _LOG.exception("report %d of node %s could not be stored", seq, node)
            if isinstance(error, _OF_THE_DATA):
                return Problem(422, f"this report can't be stored: {_cause(error)}", "body")
            return Problem(500, "this report could not be stored; the server's log says why")

    def _record(self, connection: Connection, prepared: Prepared) -> tuple[Ack, Tally]:
        try:
            with connection.begin_nested():
                return record(connection, self._memory, prepared)
        except IntegrityError:
            # What is remembered of the node may be behind the store, if another process wrote to it: look again.
            self._memory.forget(prepared.report.node)
            with connection.begin_nested():
                return record(connection, self._memory, prepared)

    def _answer(self, job: _Job, outcome: tuple[Ack, Tally] | Problem) -> None:
        if isinstance(outcome, Problem):
            job.answer.set_exception(outcome)
            return
        ack, tally = outcome
        self._statistics.add(tally)
        job.answer.set_result(ack)

    def _do_chores(self) -> None:
        self._chores_at = time.monotonic() + _CHORES_S
        with self._store.writing() as connection:
            self._tokens.flush(connection)
            connection.execute(delete(streams).where(streams.c.last_seen < self._now() - _FORGET_STREAM))


def _cause(error: Exception) -> str:
    return str(error.orig if isinstance(error, DBAPIError) else error)[:200]
