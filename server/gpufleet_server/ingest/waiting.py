"""Reports that wait to be written: bounded, and handed over many at a time when many come."""

import asyncio
import collections
import dataclasses
import threading
import time
from typing import Protocol

from gpufleet_agent import wire

from gpufleet_server.domain.clock import SECOND
from gpufleet_server.ingest.failures import unavailable
from gpufleet_server.ingest.prepare import Prepared
from gpufleet_server.ingest.settle import Waiter
from gpufleet_server.ingest.statistics import Statistics

_STOPPING, _FULL = "the server is stopping", "too many reports wait to be written"
# What lay with its agent for longer than this, µs, is late: it may be one of a day's.
_LATE = 60 * SECOND


class Answer(Waiter[wire.Ack], Protocol):
    """Who waits for the answer to a report: the Ack once it is committed, or a Problem."""

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """The event loop in which it is to be told."""

    def cancelled(self) -> bool:
        """Whether nobody waits any more."""


@dataclasses.dataclass(slots=True)
class Job:
    """A report, who waits for its answer, and since when (monotonic, s)."""

    prepared: Prepared
    answer: Answer
    since: float


@dataclasses.dataclass(frozen=True)
class Bounds:
    """How much may wait, how much is taken at once (`batch` reports, of `batch_bytes`), and how often (`pause`, s).

    A batch that is large enough to need a good part of a second is followed by the next only after the pause. Late
    reports may fill a share of the room, `late`, and of a batch, `late_batch_bytes`: however many agents come back at
    once, live ones find the rest, and need not wait until all that came before them is written.
    """

    reports: int = 8000
    bytes: int = 128 << 20
    batch: int = 1000
    batch_bytes: int = 16 << 20
    pause: float = 0.2
    late: float = 0.5
    late_batch_bytes: int = 4 << 20
    # Reports in a batch from which on pauses are made.
    busy: int = 20


class Waiting:
    """The queue between the event loop and the writer. Beyond its bounds a report gets 503."""

    def __init__(self, statistics: Statistics, bounds: Bounds) -> None:
        self._statistics, self._bounds = statistics, bounds
        # Each by itself in the order in which they came; an agent sends one after the other.
        self._live: collections.deque[Job] = collections.deque()
        self._late: collections.deque[Job] = collections.deque()
        self._changed = threading.Condition()
        self._stopping = True
        self._trouble: str | None = None
        # How many reports must wait for the writer to be woken.
        self._wake_at = 1
        self._not_before = 0.0

    @property
    def closed(self) -> str | None:
        """Why no report would be taken now, as agents are told; or None."""
        if self._stopping:
            return _STOPPING
        if self._trouble is not None:
            return "the database does not answer; nothing was stored"
        return None if self._has_room(0) else _FULL

    @property
    def trouble(self) -> str | None:
        """What the database said when it did not answer, for operators; or None."""
        return self._trouble

    def open(self) -> None:
        """Begin to take reports."""
        self._stopping = False

    def close(self) -> None:
        """Take no more."""
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def hold(self, trouble: str | None) -> None:
        """Take no more while there is trouble; None: it is over."""
        with self._changed:
            self._trouble = trouble
            self._changed.notify()

    def put(self, prepared: Prepared, answer: Answer) -> None:
        """Have a report wait. Problem 503 where that is not possible."""
        with self._changed:
            late = prepared.lay > _LATE
            share = self._bounds.late if late else 1.0
            if (closed := self.closed) is not None or not self._has_room(prepared.size, share):
                raise unavailable(closed or _FULL)
            (self._late if late else self._live).append(Job(prepared, answer, time.monotonic()))
            self._statistics.queued_reports = self._count
            self._statistics.queued_bytes += prepared.size
            if self._count >= self._wake_at or self._statistics.queued_bytes > self._bounds.batch_bytes:
                self._changed.notify()

    def take(self, timeout: float) -> list[Job]:
        """What waits, as soon as there is something, at most a batch; nothing when it ends or time is over."""
        with self._changed:
            if not self._count:
                self._wait(1, timeout)
            if self._count:
                self._wait(self._bounds.batch, self._not_before - time.monotonic())
            jobs = self._pop()
        now = time.monotonic()
        self._not_before = now + (self._bounds.pause if len(jobs) >= self._bounds.busy else 0.0)
        # A request that was given up meanwhile is not written: its agent sends it again.
        return [job for job in jobs if not job.answer.cancelled()]

    def drain(self) -> list[Job]:
        """Everything that waits."""
        with self._changed:
            jobs = [*self._live, *self._late]
            self._live.clear()
            self._late.clear()
            self._statistics.queued_reports = self._statistics.queued_bytes = 0
        return jobs

    @property
    def _count(self) -> int:
        return len(self._live) + len(self._late)

    def _wait(self, reports: int, timeout: float) -> None:
        self._wake_at = reports
        if timeout > 0:
            self._changed.wait_for(lambda: self._stopping or self._trouble or self._full(reports), timeout)
        self._wake_at = self._bounds.reports + 1

    def _full(self, reports: int) -> bool:
        return self._count >= reports or self._statistics.queued_bytes > self._bounds.batch_bytes

    def _pop(self) -> list[Job]:
        bounds = self._bounds
        jobs = _taken(self._live, bounds.batch, bounds.batch_bytes)
        jobs += _taken(self._late, bounds.batch - len(jobs), bounds.late_batch_bytes)
        self._statistics.queued_reports = self._count
        self._statistics.queued_bytes -= sum(job.prepared.size for job in jobs)
        return jobs

    def _has_room(self, size: int, share: float = 1.0) -> bool:
        # One report is always taken, however large: otherwise it never could be.
        queued, bounds = self._statistics.queued_bytes, self._bounds
        most_reports, most_bytes = bounds.reports * share, bounds.bytes * share
        return not self._count or (self._count < most_reports and queued + size <= most_bytes)


def _taken(jobs: collections.deque[Job], most: int, most_bytes: int) -> list[Job]:
    """The first of them, at most so many, and of so many bytes but for the last."""
    taken: list[Job] = []
    size = 0
    while jobs and len(taken) < most and size <= most_bytes:
        taken.append(jobs.popleft())
        size += taken[-1].prepared.size
    return taken
