"""Takes reports from the spool to the server, oldest first, until it has said that they are committed."""

from __future__ import annotations

import logging
import os

from gpufleet_agent.runtime.clock import monotonic, read_clock, wall
from gpufleet_agent.runtime.enrol import Enroller
from gpufleet_agent.runtime.parcel import Packer, Parcel
from gpufleet_agent.runtime.push import READ_SECONDS, Answer, Link, Unreachable
from gpufleet_agent.runtime.spool import Entry, Spool
from gpufleet_agent.wire import CLOCK_HEADER, CONTENT_TYPE, ENCODING, REPORT_PATH, Ack, Event, Overlap, clock_header

_LOG = logging.getLogger("gpufleet_agent")
# Client errors that say nothing about the report itself: it is tried again.
_TRY_AGAIN = frozenset({401, 403, 404, 405, 407, 408, 409, 421, 425, 426, 429})
_CLOCK_WARNING_SECONDS = 5.0
# How long after a credential was not renewed that is tried again, should the server ask.
_RENEW_SECONDS = 600.0


class Backoff:
    """1 s, 2 s, 4 s … 60 s with jitter, or what the server asked for."""

    def __init__(self, first: float = 1.0, most: float = 60.0) -> None:
        self._first, self._most = first, most
        self._delay = 0.0
        self.until = 0.0

    def fail(self, asked: float | None = None) -> None:
        """Wait longer than the time before."""
        self._delay = min(max(2 * self._delay, self._first), self._most)
        jitter = 0.5 + int.from_bytes(os.urandom(2), "big") / (1 << 17)
        self.until = monotonic() + max(self._delay * jitter, asked or 0.0)

    def go_on(self) -> None:
        """Try the next thing at once, and wait longer should that fail."""
        self.until = 0.0

    def succeed(self) -> None:
        """Go on at once."""
        self._delay = self.until = 0.0


class Delivery:
    """One attempt a step, so that whoever calls it keeps an eye on other things."""

    def __init__(
        self,
        link: Link,
        spool: Spool,
        enroller: Enroller,
        backoff: Backoff | None = None,
        packer: Packer | None = None,
    ) -> None:
        self._link, self._spool, self._enroller = link, spool, enroller
        self._packer = packer or Packer(spool)
        self._backoff = backoff or Backoff()
        self._told = ""
        self._answered = False
        self._clock_told = False
        self._renewing = False
        self._renewed_at = float("-inf")
        self.delivered = 0

    @property
    def due(self) -> float:
        """When `step` has something to do (monotonic seconds)."""
        waits = self._spool.head() is not None or (self._enroller.credential is None and self._enroller.can_ask)
        return self._backoff.until if waits or self._renewing else float("inf")

    @property
    def reachable(self) -> bool:
        """Whether the last attempt went well."""
        return not self.trouble

    @property
    def trouble(self) -> str:
        """Why it did not, or that there was none yet; empty where all is well."""
        return self._told or ("" if self._answered else "nothing was sent yet")

    def step(self, limit: float = READ_SECONDS) -> tuple[Ack | None, list[Event]]:
        """Enrol, renew, or send the oldest report, with those behind it that can go with it.

        The server's Ack, if it came, and what is to be told.
        """
        try:
            if self._enroller.credential is None:
                self._enrol()
            elif self._renewing:
                self._renew()
            elif (entry := self._spool.head()) is not None:
                return self._send(entry, limit)
        except Unreachable as error:
            self._fail(f"the server cannot be reached: {error}")
        return None, []

    def hurry(self, seconds: float) -> None:
        """Wait for the answer that is on its way no longer than this."""
        self._link.hurry(seconds)

    def close(self) -> None:
        """Let go of the connection."""
        self._link.close()

    def _enrol(self) -> None:
        if not self._enroller.can_ask:
            self._fail("there is no credential and no join token: reports are kept until there is one")
            return
        try:
            answer = self._enroller.ask(self._link)
        except OSError as error:
            _LOG.warning("the credential cannot be kept: %s", error)
            return
        if self._enroller.credential is None:
            self._fail(f"the server did not enrol this node: {answer.problem}", answer.retry_after)
        else:
            self._answered = True
            self._backoff.go_on()
            _LOG.info("enrolled at the server")

    def _renew(self) -> None:
        self._renewing, self._renewed_at = False, monotonic()
        try:
            answer = self._enroller.renew(self._link)
        except OSError as error:
            _LOG.warning("a renewed credential cannot be kept, the one before goes on: %s", error)
            return
        if answer.status in (200, 201):
            self._renewed_at = float("-inf")
            _LOG.info("the credential is renewed")
        else:
            _LOG.warning("the server did not renew the credential: %s", answer.problem)

    def _send(self, entry: Entry, limit: float) -> tuple[Ack | None, list[Event]]:
        try:
            parcel = self._packer.pack(entry)
        except OSError as error:
            _LOG.warning("report %d cannot be read and is given up: %s", entry.seq, error)
            self._spool.remove(entry)
            return None, [_given_up(entry, f"its file cannot be read: {error}")]
        began = monotonic()
        try:
            answer = self._link.post(REPORT_PATH, parcel.body, self._headers(), limit)
        except Unreachable:
            self._packer.fail(parcel)
            raise
        if answer.status in (200, 201, 202) and (ack := _ack(answer, parcel)):
            self._remove(parcel, parcel.seq)
            self._packer.succeed(parcel, ack, monotonic() - began)
            self._succeed(ack, len(parcel.entries))
            return ack, []
        return None, self._take_no(parcel, answer)

    def _take_no(self, parcel: Parcel, answer: Answer) -> list[Event]:
        """What is to be told of an answer that acknowledges nothing."""
        entry = parcel.entries[0]
        if parcel.is_joined and (known := _known(answer)) >= entry.seq:
            # Of a request that was thought to be lost.
            self._remove(parcel, known)
            self._packer.get_past()
            self._backoff.succeed()
            return []
        if answer.status == 413 or (
            answer.is_problem and 400 <= answer.status < 500 and answer.status not in _TRY_AGAIN
        ):
            self._backoff.succeed()
            if parcel.is_joined:
                # It may be one of them only, or too much for something in between.
                _LOG.info("%d reports are not taken as one: %s", len(parcel.entries), answer.problem)
                self._packer.shrink(parcel)
                return []
            _LOG.error("the server refused report %d: %s", entry.seq, answer.problem)
            self._spool.reject(entry)
            return [_given_up(entry, answer.problem)]
        self._packer.fail(parcel)
        # A page of something in between says nothing about the credential.
        if answer.status in (401, 403) and answer.is_problem:
            if self._enroller.fall_back():
                _LOG.warning("the server does not know the renewed credential; the one before is tried again")
                return []
            if self._enroller.can_ask:
                self._enroller.forget()
        self._fail(f"the server does not take reports: {answer.problem}", answer.retry_after)
        return []

    def _remove(self, parcel: Parcel, last: int) -> None:
        """Forget the reports that the server has: those up to this number."""
        for entry in parcel.entries:
            if entry.seq <= last:
                self._spool.remove(entry)

    def _headers(self) -> dict[str, str]:
        return {
            "Authorization": f"Bearer {self._enroller.credential}",
            "Content-Type": CONTENT_TYPE,
            "Content-Encoding": ENCODING,
            CLOCK_HEADER: clock_header(read_clock()),
        }

    def _succeed(self, ack: Ack, reports: int) -> None:
        self._backoff.succeed()
        self._answered = True
        self._renewing = ack.renew and monotonic() - self._renewed_at > _RENEW_SECONDS
        self.delivered += reports
        if self._told:
            _LOG.info("the server takes reports again; %d wait", self._spool.backlog.reports)
        self._told = ""
        off = abs(ack.clock_offset) / 1e6
        if off > _CLOCK_WARNING_SECONDS and not self._clock_told:
            _LOG.warning("this machine's clock is %.1f s off the server's", ack.clock_offset / 1e6)
        self._clock_told = off > _CLOCK_WARNING_SECONDS

    def _fail(self, text: str, asked: float | None = None) -> None:
        self._backoff.fail(asked)
        # Once for each kind of trouble, not once for each attempt.
        if text != self._told:
            _LOG.warning("%s; %d reports wait", text, self._spool.backlog.reports)
        self._told = text


def _ack(answer: Answer, parcel: Parcel) -> Ack | None:
    ack = answer.as_json(Ack)
    return ack if ack is not None and ack.seq == parcel.seq else None


def _known(answer: Answer) -> int:
    """The last report that the server says it has, where it refuses joined ones for that; else 0."""
    if answer.status != 409 or not answer.is_problem:
        return 0
    overlap = answer.as_json(Overlap)
    return 0 if overlap is None else overlap.last_seq


def _given_up(entry: Entry, problem: str) -> Event:
    text = f"report {entry.seq} was refused by the server and put aside: {problem}"
    return Event(at=wall(), kind="report_rejected", message=text[:2048], detail={"seq": entry.seq})
