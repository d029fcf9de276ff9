"""A simulated agent: enrols, sends its reports in order, keeps what is not committed and sends it again."""

from __future__ import annotations

import logging
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec
from gpufleet_agent import __version__ as agent_version
from gpufleet_agent.catalogue import EVERY_SAMPLE
from gpufleet_agent.wire import (
    CLOCK_HEADER,
    CONTENT_TYPE,
    ENCODING,
    ENROL_PATH,
    MAX_JOINED,
    MAX_JOINED_BYTES,
    MAX_JOINED_CELLS,
    PROTOCOL,
    REPORT_PATH,
    Ack,
    Credential,
    Enrolment,
    Overlap,
    State,
    clock_header,
)
from gpufleet_agent.wire.report import MAX_TIMES

from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.encoding import encode
from gpufleet_server.simulate.faults import SECOND, FaultKind
from gpufleet_server.simulate.identity import lost_indices
from gpufleet_server.simulate.link import Answer, Link, LinkError
from gpufleet_server.simulate.outbox import Outbox
from gpufleet_server.simulate.reports import Closed, Reporter, Sampled, grid
from gpufleet_server.simulate.statistics import Tally

log = logging.getLogger(__name__)

_KEPT = 100_000
# How many reports that wait are written at once: 16 KiB of them, 32 at most.
_AHEAD_BYTES, _AHEAD = 16 << 10, 32
# Reports are joined once so many might be, which is after three.
_ALONE = 8
# Bytes of a sample with all its metrics.
_CELL = sum(metric.width for metric in EVERY_SAMPLE)
# Client errors that say nothing about the report itself: it is tried again.
_TRY_AGAIN = frozenset({401, 403, 404, 405, 407, 408, 409, 421, 425, 426, 429})

_ack = msgspec.json.Decoder(Ack)


@dataclass(frozen=True, slots=True)
class Sent:
    """A report that was made: its name, what it holds, and the very bytes that are sent. `reports` are joined in it."""

    node: str
    stream: str
    seq: int
    samples: int
    values: int
    events: int
    body: bytes
    reports: int = 1


Committed = Callable[[Sent, Ack], None]


def now() -> int:
    """The time, µs since the epoch."""
    return time.time_ns() // 1000


@dataclass(slots=True)
class Terms:
    """What the agents of a fleet share: `every` in µs, pauses in s, the credential of each node that has one.

    `later` has an agent go on at a time; `joins` is whether reports that wait are joined, `usage` whether they say who
    uses the GPUs.
    """

    link: Link
    join_token: str
    every: int
    committed: Committed
    later: Callable[[int, SimAgent], None]
    pauses: tuple[float, float] = (1.0, 60.0)
    joins: bool = True
    usage: bool = True
    tally: Tally = field(default_factory=Tally)
    credentials: dict[str, str] = field(default_factory=dict)


class SimAgent:
    """One node's agent. It sends when it is told to `go_on`; how its reports come about is the cohort's business."""

    __slots__ = (
        "_bodies", "_head", "_joining", "_lost", "_pause", "_retry_at", "_roster_wanted", "_same", "_silences",
        "_submitted", "_terms", "asking", "batch", "node", "outbox", "reporter", "tell_all",
    )  # fmt: skip

    def __init__(self, reporter: Reporter, terms: Terms, outbox: Outbox) -> None:
        self.node, self.reporter, self.outbox, self._terms = reporter.node, reporter, outbox, terms
        # Whether a request of it waits for its turn or its answer; whether all states are to be told.
        self.asking, self.tell_all = False, True
        # Tells the samples of many agents from one time to another, and this one's place in them, where it can.
        self.batch: Callable[[int, int], tuple[Sampled, int] | None] | None = None
        self._bodies: deque[Sent] = deque()
        # How many reports may be joined next, 0 where the server knows of no such; how many were when no answer came.
        self._joining, self._same = int(terms.joins), 0
        self._head = self._report_head() if self.node.id in terms.credentials else b""
        self._lost: frozenset[int | None] = frozenset()
        self._roster_wanted = True
        self._silences = self.node.having(FaultKind.SILENT)
        self._pause = self._submitted = 0.0
        self._retry_at = 0

    def silent(self, at: int) -> bool:
        """Whether the node is dead to the world."""
        return bool(self._silences) and any(fault.active(at) for fault in self._silences)

    def close(self, until: int, changed: list[State], sampled: tuple[Sampled, int] | None) -> None:
        """Close a report as of `until`, and write it where it is next and its samples are at hand.

        `changed` are the states to be told; `sampled` is a batch and the node's place in it.
        """
        lost = lost_indices(self.node, until)
        roster_wanted = self._roster_wanted or lost != self._lost
        self._lost, self._roster_wanted = lost, False
        self.outbox.close(until, changed, with_roster=roster_wanted)
        self._terms.tally.made += 1
        if self.outbox.waiting > _KEPT and not self.asking:
            self._drop()
        if sampled is not None and self.outbox.waiting == 1:
            self._write(next(self.outbox.heads(1)), *sampled)

    def go_on(self) -> None:
        """Send what waits, unless that is being done, the server wants a pause, or the node is dead."""
        at = now()
        if not self.outbox.waiting or self.asking or at < self._retry_at or self.silent(at):
            return
        self.asking, self._submitted = True, time.perf_counter()
        self._terms.link.submit(self)

    def want_roster(self) -> None:
        """Tell the roster and all states with the next report: the server says it lacks them."""
        self._roster_wanted = self.tell_all = True

    def hurry(self) -> None:
        """Forget about pauses, and come back from the dead: what waits is sent now or never."""
        self._retry_at, self._silences = 0, ()

    def request(self) -> bytes | None:
        """What is asked next: a credential, or to take the oldest report."""
        if not self.outbox.waiting:
            self.asking = False
            return None
        if not self._head:
            return self._enrolment()
        if not self._bodies:
            self._write_next()
        body = self._bodies[0].body
        clock = clock_header(self.reporter.clock(now()))
        return b"%s%s\r\ncontent-length: %d\r\n\r\n%s" % (self._head, clock.encode(), len(body), body)

    def answered(self, answer: Answer) -> None:
        """Take what the server said."""
        self.asking = False
        if not self._head:
            self._take_credential(answer)
        elif answer.status == 200:
            self._take_ack(answer)
        elif answer.status == 409 and self._bodies[0].reports > 1 and (last := _known(answer)):
            self._get_past(last)
        elif answer.status == 413 or (400 <= answer.status < 500 and answer.status not in _TRY_AGAIN):
            # It would be refused for ever and keep back all that comes after it.
            log.warning("%s: report %d is refused: %s", self.node.hostname, self._bodies[0].seq, answer.body.decode())
            self._drop()
        else:
            if answer.status in (401, 403):
                self._head = b""
                self._terms.credentials.pop(self.node.id, None)
            self._back_off(answer)
        self.go_on()

    def failed(self, error: LinkError) -> None:
        """Try again later."""
        log.debug("%s: %s", self.node.hostname, error)
        self.asking = False
        self._terms.tally.trouble = str(error)
        self._back_off(None)

    def _enrolment(self) -> bytes:
        ask = Enrolment(version=PROTOCOL, node=self.node.id, hostname=self.node.hostname, agent_version=agent_version)
        head = self._terms.link.head(
            ENROL_PATH, authorization=f"Bearer {self._terms.join_token}", content_type="application/json"
        )
        body = msgspec.json.encode(ask)
        return b"%scontent-length: %d\r\n\r\n%s" % (head, len(body), body)

    def _take_credential(self, answer: Answer) -> None:
        if answer.status != 201:
            self._terms.tally.not_enrolled += answer.status in (401, 403)
            self._back_off(answer)
            return
        self._terms.credentials[self.node.id] = msgspec.json.decode(answer.body, type=Credential).credential
        self._terms.tally.enrolled += 1
        self._head = self._report_head()

    def _report_head(self) -> bytes:
        head = self._terms.link.head(
            REPORT_PATH,
            authorization=f"Bearer {self._terms.credentials[self.node.id]}",
            content_type=CONTENT_TYPE,
            content_encoding=ENCODING,
        )
        return head + f"{CLOCK_HEADER}: ".encode()

    def _take_ack(self, answer: Answer) -> None:
        ack, sent, tally = _ack.decode(answer.body), self._bodies[0], self._terms.tally
        if ack.seq != sent.seq:
            self._back_off(answer)
            return
        self._pause, tally.trouble = 0.0, ""
        self._bodies.popleft()
        self.outbox.pop(sent.reports)
        joins = ack.joins and self._terms.joins
        self._joining, self._same = min(2 * self._joining or 1, MAX_JOINED) if joins else 0, 0
        tally.latency.add(time.perf_counter() - self._submitted)
        tally.reports += sent.reports
        tally.duplicates += sent.reports if ack.duplicate else 0
        # What was there already was committed once, whenever that was heard.
        tally.samples += sent.samples
        tally.values += sent.values
        tally.events += sent.events
        tally.body_bytes += len(sent.body)
        if ack.roster_wanted:
            self.want_roster()
        self._terms.committed(sent, ack)

    def _get_past(self, last: int) -> None:
        """Forget what the server has of a joined report: the agent gave up some of it while it was on its way."""
        self._bodies.clear()
        self._same = 0
        while self.outbox.waiting and next(self.outbox.heads(1)).seq <= last:
            self.outbox.pop()

    def _back_off(self, answer: Answer | None) -> None:
        first, longest = self._terms.pauses
        self._terms.tally.retries += 1
        if answer is not None:
            self._terms.tally.trouble = f"HTTP {answer.status}: {answer.body[:200].decode(errors='replace')}"
        self._terms.tally.unavailable += answer is not None and answer.status == 503
        if self._bodies and self._bodies[0].reports > 1:
            # Written anew when its turn comes, the same again: thousands of agents may have one.
            self._same = self._bodies.popleft().reports
        self._joining = min(self._joining, 1)
        self._pause = min(max(2 * self._pause, first), longest)
        jittered = self._pause * random.uniform(0.5, 1.0)  # noqa: S311
        wait = max(jittered, answer.retry_after if answer is not None else 0.0)
        self._retry_at = now() + int(wait * SECOND)
        self._terms.later(self._retry_at, self)

    def _drop(self) -> None:
        if self._bodies and self._bodies.popleft().reports > 1:
            # Which of them is at fault is found when each goes alone.
            self._joining, self._same = 1, 0
            return
        self.outbox.drop()
        self._terms.tally.dropped += 1
        self._same = 0

    def _write_next(self) -> None:
        """Write what is sent next: one report, some of those that wait, or many of them joined."""
        began = time.thread_time()
        closed, count = self.outbox.joined(self._same or self._joined_at_most())
        if count > 1:
            times = grid(closed.since, closed.until, self.reporter.interval)
            self._write(closed, Sampled(Boards.of([self.node]), times, self.reporter.interval), 0, count)
        else:
            self._write_ahead()
        self._terms.tally.making += time.thread_time() - began

    def _joined_at_most(self) -> int:
        """How many may be joined: a few alone at first, and what tells of a driver that hung by itself."""
        if self._joining < _ALONE or self.reporter.hangs:
            return 1
        # All of it is one block here.
        times = max(1, self._terms.every // (self.reporter.interval * 1000))
        cells = times * self.node.count
        most = (MAX_TIMES // times, MAX_JOINED_CELLS // cells, MAX_JOINED_BYTES // (cells * _CELL))
        return max(1, min(self._joining, *most))

    def _write_ahead(self) -> None:
        """Write some of the reports that wait, all in one pass of arithmetic: the next one's with other agents'."""
        closed = next(self.outbox.heads(1))
        if self.batch is not None and (batch := self.batch(closed.since, closed.until)) is not None:
            self._write(closed, *batch)
            return
        # Where the rest is soon to be joined it is not written one by one.
        most = 1 if self._joining else max(1, min(_AHEAD, _AHEAD_BYTES // max(self.outbox.size, 512)))
        some = list(self.outbox.heads(most))
        times = grid(some[0].since, some[-1].until, self.reporter.interval)
        sampled = Sampled(Boards.of([self.node]), times, self.reporter.interval)
        for closed in some:
            self._write(closed, sampled, 0)

    def _write(self, closed: Closed, sampled: Sampled, number: int, count: int = 1) -> None:
        blocks = sampled.samples(number, self.reporter, closed.since, closed.until)
        report = self.reporter.report(closed, blocks)
        if self._terms.usage:
            report.holders, report.usage = sampled.usage(number, self.reporter, closed.since, closed.until)
        body = encode(report)
        if count == 1:
            self.outbox.size = len(body)
        self._bodies.append(
            Sent(
                node=report.node,
                stream=report.stream,
                seq=report.seq,
                samples=sum(len(block.gpus) * len(block.times) // 8 for block in blocks),
                values=sampled.values(number, self.reporter, closed.since, closed.until),
                events=len(report.events),
                body=body,
                reports=count,
            )
        )


def _known(answer: Answer) -> int:
    """The last report that the server says it has, where it refuses joined ones for that; else 0."""
    try:
        return msgspec.json.decode(answer.body, type=Overlap).last_seq
    except msgspec.MsgspecError:
        return 0
