"""The one thread that writes reports: it takes all that wait, commits them at once, and then answers."""

import asyncio
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence

from gpufleet_agent.wire import Ack
from sqlalchemy import delete, select
from sqlalchemy.exc import SQLAlchemyError

from gpufleet_server.domain import clock
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest.columns import Block, Matrix, matrix, problems
from gpufleet_server.ingest.failures import OF_THE_DATA, STORE_FAILED, cause, unavailable
from gpufleet_server.ingest.memory import Memory
from gpufleet_server.ingest.prepare import Prepared
from gpufleet_server.ingest.record import Batch, Outcome, record
from gpufleet_server.ingest.settle import settle
from gpufleet_server.ingest.statistics import Statistics, Tally
from gpufleet_server.ingest.waiting import Answer, Bounds, Job, Waiting
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import streams
from gpufleet_server.store.tokens import TokenCache

_LOG = logging.getLogger(__name__)

_CHORES_S, _PROBE_S = 60.0, 1.0
# A failed commit is told for so long: with nothing more to commit nobody knows whether the next would succeed.
_TOLD_S = 30.0
_FORGET_STREAM = 400 * 86_400 * clock.SECOND


class Writer:
    """Writes what is submitted. While the database is gone it takes nothing and looks for it every second."""

    def __init__(
        self,
        store: Store,
        tokens: TokenCache,
        statistics: Statistics,
        *,
        now: Callable[[], int] = clock.now,
        bounds: Bounds | None = None,
        happened: Callable[[Iterable[tuple[str, int]]], None] = lambda _: None,
    ) -> None:
        """`happened` is told after each commit of the kinds of events in it, each with the node that had it."""
        self._happened = happened
        self._store, self._tokens, self._statistics, self._now = store, tokens, statistics, now
        self._waiting = Waiting(statistics, bounds or Bounds())
        self._memory = Memory()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._chores_at = time.monotonic() + _CHORES_S
        # Why the last commit failed, and until when (monotonic, s) that is told where none has succeeded since.
        self._failed, self._told_until = "", 0.0

    def start(self) -> None:
        """Begin to write."""
        self._stop.clear()
        self._waiting.open()
        # A daemon, so that a server that is forced to end does: what was not committed was not acknowledged either.
        self._thread = threading.Thread(target=self._run, name="gpufleet-writer", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Take no more, write what waits, and end."""
        self._stop.set()
        self._waiting.close()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    @property
    def trouble(self) -> str | None:
        """Why no report would be stored now, as operators are told; or None."""
        if (thread := self._thread) is not None and not thread.is_alive():
            return "the thread that writes has ended; the server's log says why"
        failed = self._failed if time.monotonic() < self._told_until else None
        return self._waiting.trouble or self._waiting.closed or failed

    @property
    def closed(self) -> str | None:
        """Why no report would be taken now, as agents are told; or None."""
        return self._waiting.closed

    def doubt(self, trouble: str) -> None:
        """Have the writer see whether the database still answers before it takes more."""
        self._waiting.hold(trouble)

    def submit(self, prepared: Prepared) -> asyncio.Future[Ack]:
        """Have a report written, from an event loop. The future gives the Ack once it is committed, or a Problem.

        Problem 503 where it can't be taken.
        """
        answer: asyncio.Future[Ack] = asyncio.get_running_loop().create_future()
        self.put(prepared, answer)
        return answer

    def put(self, prepared: Prepared, answer: Answer) -> None:
        """The same, with whoever is to be told. Problem 503 where it can't be taken."""
        self._waiting.put(prepared, answer)

    def _run(self) -> None:
        while True:
            jobs = self._waiting.take(max(0.0, self._chores_at - time.monotonic()))
            if jobs:
                self._write(jobs)
            elif self._stop.is_set():
                break
            elif self._waiting.trouble is not None and not self._look_for_the_store():
                self._stop.wait(_PROBE_S)
            if time.monotonic() >= self._chores_at:
                self._do_chores()
        self._do_chores()

    def _write(self, jobs: Sequence[Job]) -> None:
        """Commit these reports and answer them; where one can't be stored, find it and store the others."""
        try:
            try:
                outcomes = self._commit(jobs)
            except STORE_FAILED as error:
                # A deadlock, or a connection that the database has closed meanwhile; the next may be well.
                _LOG.warning("%d reports are tried once more: %s", len(jobs), cause(error))
                outcomes = self._commit(jobs)
        except STORE_FAILED as error:
            self._put_off(jobs, error)
        except Exception as error:  # noqa: BLE001
            # Nothing that goes wrong with one batch may end the thread: every later report would wait for ever.
            if len(jobs) > 1:
                self._write(jobs[: len(jobs) // 2])
                self._write(jobs[len(jobs) // 2 :])
            else:
                _answer(jobs, [self._refusal(jobs[0], error)])
        else:
            _answer(jobs, outcomes)

    def _commit(self, jobs: Sequence[Job]) -> list[Outcome]:
        began = time.monotonic()
        try:
            outcomes, tally = self._record([job.prepared for job in jobs])
        except BaseException:
            self._statistics.failed_commits += 1
            self._memory.rolled_back(job.prepared.report.node for job in jobs)
            raise
        self._memory.make_room()
        self._told_until = 0.0
        ended = time.monotonic()
        self._statistics.commit(ended - began)
        self._statistics.committed_reports += len(jobs)
        self._statistics.waited_seconds += sum(ended - job.since for job in jobs)
        self._statistics.add(tally)
        if tally.happened:
            self._happened(tally.happened)
        return outcomes

    def _record(self, reports: Sequence[Prepared]) -> tuple[list[Outcome], Tally]:
        values, begins, bad = _checked([each.blocks for each in reports])
        bad |= _checked([each.partition_blocks for each in reports])[2]
        good = [number for number in range(len(reports)) if number not in bad]
        batch = Batch([reports[number] for number in good], values, [begins[number] for number in good])
        if not good:
            return [bad[number] for number in range(len(reports))], Tally()
        with self._store.writing() as connection:
            outcomes, tally = record(connection, self._memory, batch, self._now())
        answered = dict(zip(good, outcomes, strict=True)) | bad
        return [answered[number] for number in range(len(reports))], tally

    def _refusal(self, job: Job, error: Exception) -> Problem:
        report = job.prepared.report
        _LOG.error("report %d of node %s could not be stored", report.seq, report.node, exc_info=error)
        if isinstance(error, OF_THE_DATA):
            return Problem(422, f"this report can't be stored: {cause(error)}", "body")
        return Problem(500, "this report could not be stored; the server's log says why")

    def _put_off(self, jobs: Sequence[Job], error: Exception) -> None:
        _LOG.error("%d reports could not be committed: %s", len(jobs), cause(error))
        self._failed, self._told_until = f"the last commit failed: {cause(error)}", time.monotonic() + _TOLD_S
        # Looked for first: whoever gets this answer and asks /readyz is told which of the two it is.
        self._look_for_the_store()
        _answer(jobs, [unavailable("the store is busy or full; nothing was stored")] * len(jobs))

    def _look_for_the_store(self) -> bool:
        """Take reports only while the database answers; turn those that wait away while it does not."""
        try:
            with self._store.reading() as connection:
                connection.execute(select(1))
        except STORE_FAILED as error:
            self._waiting.hold(f"the database does not answer: {cause(error)}")
            # Over as soon as it answers again.
            self._told_until = 0.0
            waiting = self._waiting.drain()
            _answer(waiting, [unavailable(self._waiting.closed or "")] * len(waiting))
            return False
        self._waiting.hold(None)
        return True

    def _do_chores(self) -> None:
        self._chores_at = time.monotonic() + _CHORES_S
        try:
            with self._store.writing() as connection:
                self._tokens.flush(connection)
                connection.execute(delete(streams).where(streams.c.last_seen < self._now() - _FORGET_STREAM))
        except (SQLAlchemyError, *STORE_FAILED) as error:
            _LOG.warning("the use of tokens is not kept: %s", cause(error))


def _checked(blocks: Sequence[Sequence[Block]]) -> tuple[Matrix, list[int], dict[int, Problem]]:
    """The values of the blocks of reports, the first block of each, and by number what is wrong with some of them."""
    listed = [block for each in blocks for block in each]
    owners = [number for number, each in enumerate(blocks) for _ in each]
    begins = [0, *itertools.accumulate(map(len, blocks))][:-1]
    values = matrix(listed)
    # Of a report the first one counts.
    wrong = reversed(problems(listed, values).items())
    return values, begins, {owners[number]: problem for number, problem in wrong}


def _answer(jobs: Iterable[Job], outcomes: Iterable[Outcome]) -> None:
    """Wake those that wait, once an event loop."""
    by_loop: dict[asyncio.AbstractEventLoop, list[tuple[Answer, Outcome]]] = {}
    for job, outcome in zip(jobs, outcomes, strict=True):
        by_loop.setdefault(job.answer.get_loop(), []).append((job.answer, outcome))
    for loop, answers in by_loop.items():
        # A loop that has ended has nobody left who waits.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_resolve, answers)


def _resolve(answers: list[tuple[Answer, Outcome]]) -> None:
    for answer, outcome in answers:
        settle(answer, outcome)
