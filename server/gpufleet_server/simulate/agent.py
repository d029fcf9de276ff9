"""A simulated agent: enrols, reports on time, keeps what is not committed and sends it again."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from gpufleet_agent import __version__ as agent_version
from gpufleet_agent.wire import (
    CLOCK_HEADER,
    CONTENT_TYPE,
    ENCODING,
    ENROL_PATH,
    PROTOCOL,
    REPORT_PATH,
    Ack,
    Backlog,
    Credential,
    Enrolment,
    clock_header,
    encode,
)

from gpufleet_server.simulate.faults import SECOND, FaultKind
from gpufleet_server.simulate.link import Answer, Link, LinkError
from gpufleet_server.simulate.plan import SimNode
from gpufleet_server.simulate.reports import Reporter

log = logging.getLogger(__name__)

_KEPT = 720
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0
_LONGEST_GAP = 300 * SECOND


@dataclass(frozen=True, slots=True)
class Sent:
    """A report that was made: its name, what it holds, and the very bytes that are sent."""

    node: str
    stream: str
    seq: int
    samples: int
    events: int
    body: bytes


Committed = Callable[[Sent, Ack], None]


def now() -> int:
    """The time, µs since the epoch."""
    return time.time_ns() // 1000


class SimAgent:
    """One node's agent. `interval` and `every`, between samples and between reports, are in ms."""

    def __init__(
        self, node: SimNode, link: Link, join_token: str, interval: int, every: int, committed: Committed
    ) -> None:
        self.node, self._link, self._join_token = node, link, join_token
        self._every, self._committed = every * 1000, committed
        self._reporter = Reporter(node, interval, now() - interval * 1000)
        self._outbox: deque[Sent] = deque()
        self._dropped = 0
        self._credential = ""
        self._pause = 0.0
        self._retry_at = 0.0

    @property
    def waiting(self) -> int:
        """Reports that are not committed yet."""
        return len(self._outbox)

    @property
    def last(self) -> Sent:
        """The newest report that is not committed yet. IndexError where none waits."""
        return self._outbox[-1]

    async def run(self, first: float) -> None:
        """Report until cancelled; the first report comes after `first` seconds."""
        due = now() + int(first * SECOND)
        while True:
            await self._sleep_until(due)
            if now() >= due:
                self.make(now())
                due = self._next_due(due)
            await self.send()

    async def flush(self) -> None:
        """Close a last report and try to send all there is, once."""
        self.make(now())
        self._retry_at = 0.0
        await self.send()

    def make(self, at: int) -> None:
        """Close a report as of `at` (µs) and keep it; the oldest goes when there are too many."""
        if self._silent(at):
            self._reporter.skip(at)
            return
        if at - self._reporter.until > _LONGEST_GAP:
            self._reporter.skip(at - self._every)
        if len(self._outbox) >= _KEPT:
            self._outbox.popleft()
            self._dropped += 1
        kept = sum(len(sent.body) for sent in self._outbox)
        report = self._reporter.report(at, Backlog(reports=len(self._outbox), bytes=kept, dropped=self._dropped))
        samples = sum(len(block.gpus) * len(block.times) // 8 for block in report.samples)
        sent = Sent(report.node, report.stream, report.seq, samples, len(report.events), encode(report))
        self._outbox.append(sent)

    async def send(self) -> None:
        """Send what is kept, oldest first, until it is all committed or the server can't take it."""
        while self._outbox and time.monotonic() >= self._retry_at and not self._silent(now()):
            try:
                answer = await self._post(self._outbox[0])
            except (LinkError, TimeoutError) as error:
                log.debug("%s: %s", self.node.hostname, error)
                self._back_off(None)
            else:
                self._take(answer)

    def _silent(self, at: int) -> bool:
        return any(fault.active(at) for fault in self.node.having(FaultKind.SILENT))

    async def _post(self, sent: Sent) -> Answer:
        if not self._credential:
            enrolled = await self._enrol()
            if enrolled.status != 201:
                return enrolled
            self._credential = msgspec.json.decode(enrolled.body, type=Credential).credential
        return await self._link.post(REPORT_PATH, self._headers, sent.body)

    def _headers(self) -> dict[str, str]:
        return {
            "authorization": f"Bearer {self._credential}",
            "content-type": CONTENT_TYPE,
            "content-encoding": ENCODING,
            CLOCK_HEADER: clock_header(self._reporter.clock(now())),
        }

    async def _enrol(self) -> Answer:
        ask = Enrolment(version=PROTOCOL, node=self.node.id, hostname=self.node.hostname, agent_version=agent_version)
        headers = {"authorization": f"Bearer {self._join_token}", "content-type": "application/json"}
        return await self._link.post(ENROL_PATH, lambda: headers, msgspec.json.encode(ask))

    def _take(self, answer: Answer) -> None:
        if answer.status == 200:
            ack = msgspec.json.decode(answer.body, type=Ack)
            self._pause = 0.0
            self._committed(self._outbox.popleft(), ack)
            if ack.roster_wanted:
                self._reporter.want_roster()
            return
        if answer.status in (401, 403):
            self._credential = ""
        elif 400 <= answer.status < 500 and answer.status not in (408, 429):
            # It would be refused for ever and keep back all that comes after it.
            refused = self._outbox.popleft()
            self._dropped += 1
            log.warning("%s: report %d was refused: %s", self.node.hostname, refused.seq, answer.body.decode())
            return
        self._back_off(answer.headers.get("retry-after"))

    def _back_off(self, retry_after: str | None) -> None:
        self._pause = min(max(2 * self._pause, _FIRST_PAUSE), _LONGEST_PAUSE)
        wanted = float(retry_after) if retry_after and retry_after.isdigit() else 0.0
        self._retry_at = time.monotonic() + max(self._pause, wanted)

    def _next_due(self, due: int) -> int:
        following = due + self._every
        return following if following > now() else now() + self._every

    async def _sleep_until(self, due: int) -> None:
        """Until the next report is due, an event wants to be told at once, or a resend may be tried."""
        event = self._reporter.next_event(due)
        wake = (event if event is not None else due) - now()
        seconds = max(wake / SECOND, 0.0)
        if self._outbox:
            seconds = min(seconds, max(self._retry_at - time.monotonic(), 0.0))
        await asyncio.sleep(seconds)
        if event is not None and now() >= event:
            self.make(now())
