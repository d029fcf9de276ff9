"""Turns what the reader tells into reports: when to close one, and what goes into it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Protocol

from msgspec.structs import replace

from gpufleet_agent.backends.backend import DriverFacts
from gpufleet_agent.runtime.clock import monotonic, read_clock, unset, wall, was_set
from gpufleet_agent.runtime.draft import Draft
from gpufleet_agent.runtime.frames import (
    Begun,
    Changed,
    Enlisted,
    Frame,
    Happened,
    Opened,
    Record,
    Rostered,
    Stood,
    Ticked,
)
from gpufleet_agent.runtime.pieces import Descriptions
from gpufleet_agent.wire import (
    XID_CONFIRMED,
    Backlog,
    Driver,
    Event,
    Gpu,
    Host,
    Report,
    Roster,
    State,
    digest,
    encode,
)

_LOG = logging.getLogger("gpufleet_agent")

REPORT_SECONDS = 10.0
# What belongs together comes within this time: roster and states at the start, a burst of events.
GATHER_SECONDS = 0.2
# A wall clock that moved by more than this (µs) against the uptime was set.
SET_MICROS = 1_000_000


class Keeper(Protocol):
    """Where reports are kept; the spool is one."""

    @property
    def backlog(self) -> Backlog:
        """What waits now."""
        ...

    def take_number(self) -> tuple[str, int]:
        """Stream and number for the next report."""
        ...

    def begin(self, begun: Begun) -> None:
        """A report begins."""
        ...

    def append(self, record: Record) -> None:
        """Something belongs to it."""
        ...

    def close(self, seq: int, body: bytes) -> None:
        """It is finished."""
        ...


class Collector:
    """Holds the open report, the roster and the states that were sent last."""

    def __init__(self, node: str, read_host: Callable[[DriverFacts | None], Host], interval: float, keeper: Keeper):
        self._node, self._read_host, self._keeper = node, read_host, keeper
        self._interval = interval
        self._period = max(interval, REPORT_SECONDS)
        self._draft: Draft | None = None
        self._driver: Driver | None = None
        # What the wall clock said, and says, when the open report began and when the driver's state was last looked at.
        self._clock = read_clock()
        self._facts: DriverFacts | None = None
        self._roster: Roster | None = None
        self._digest = ""
        self._states: dict[tuple[str, str], State] = {}
        self._roster_seq = 0
        self._described = Descriptions()
        self._ticked = False
        self._sealed = monotonic()
        self._soon: float | None = None

    @property
    def due(self) -> float:
        """When `tend` is wanted (monotonic seconds)."""
        if self._driver is None:
            return self._sealed + 3600
        # While the driver answers a tick closes the report; this is for when none comes.
        late = self._interval if self._driver.state == "ok" else 0.0
        regular = self._sealed + self._period + late
        return regular if self._soon is None else min(regular, self._soon)

    @property
    def roster(self) -> Roster | None:
        """The node and its GPUs as last read."""
        return self._roster

    @property
    def states(self) -> list[State]:
        """The latest value of every metric that is sent on change."""
        return list(self._states.values())

    def take(self, frame: Frame) -> None:
        """Take in what the reader told."""
        if isinstance(frame, Ticked):
            self._add(frame)
            if not self._ticked:
                # Whoever has just started an agent waits for its first values.
                self._hurry()
            self._ticked = True
            if monotonic() - self._sealed >= self._period - self._interval / 2:
                self.seal()
        elif isinstance(frame, Happened):
            self.tell(frame.events)
        elif isinstance(frame, Changed):
            self._take_states(frame.states)
        elif isinstance(frame, Rostered):
            self._take_gpus(frame.gpus)
        elif isinstance(frame, Opened):
            self._facts = frame.facts
            if self._roster is not None and self._roster.gpus:
                # What belongs to the driver may have changed: its version, its service.
                self._take_gpus(self._roster.gpus)

    def tell(self, events: list[Event], urgent: bool = True) -> None:
        """Add events; an urgent one closes the report at once."""
        for event in events:
            level = logging.INFO if event.kind == XID_CONFIRMED else logging.WARNING
            _LOG.log(level, "%s %s", event.kind, " ".join(_said(event)))
        if events:
            self._add(Happened(events))
            if urgent:
                self._hurry()

    def stand(self, driver: Driver) -> None:
        """Note how the driver answers."""
        if abs(was_set(self._clock, read_clock())) > SET_MICROS:
            if self._draft is not None:
                self.seal()
            self._look_at_clock()
        if self._driver is not None and driver.state == self._driver.state:
            # Since the same moment as before, whatever the wall clock has been set to meanwhile.
            driver = replace(driver, since=self._driver.since)
        if driver == self._driver:
            return
        first, self._driver = self._driver is None, driver
        if self._draft is not None:
            self._add(Stood(driver))
        if self._roster is None and driver.state != "ok":
            self._enlist([])
        if not first:
            self._hurry()

    def want_roster(self, seq: int) -> None:
        """The server asked for the roster with its answer to report `seq`; nothing is done if it is on its way."""
        if self._roster is not None and seq >= self._roster_seq:
            self._send_roster()

    def tend(self) -> None:
        """Close the report if it is due."""
        if self._driver is not None and monotonic() >= self.due:
            self.seal()

    def seal(self) -> Report | None:
        """Close the report now, empty or not; None before anything is known of the driver."""
        if self._driver is None:
            return None
        draft, now = self._draft or self._begin(), read_clock()
        # All times of a report are of one clock: of that which its first record was told by.
        created = now if abs(was_set(self._clock, now)) <= SET_MICROS else unset(self._clock, now)
        report = draft.report(self._node, self._keeper.backlog, created)
        self._keeper.close(draft.seq, encode(report))
        self._draft, self._soon, self._sealed = None, None, monotonic()
        return report

    def _hurry(self) -> None:
        if self._soon is None:
            self._soon = monotonic() + GATHER_SECONDS

    def _begin(self, record: Record | None = None) -> Draft:
        if not self._is_of_before(record):
            self._look_at_clock()
        stream, seq = self._keeper.take_number()
        begun = Begun(
            stream=stream,
            seq=seq,
            interval=round(self._interval * 1000),
            clock=self._clock,
            driver=self._driver or Driver(state="failed", since=wall(), detail="not read yet"),
            roster_digest=self._digest,
        )
        self._keeper.begin(begun)
        self._draft = Draft(begun)
        return self._draft

    def _look_at_clock(self) -> None:
        """Tell the driver's state by what the wall clock says now."""
        now = read_clock()
        by = was_set(self._clock, now)
        if abs(by) > SET_MICROS:
            _LOG.warning("the wall clock was set by %+.1f s", by / 1e6)
            if self._driver is not None:
                self._driver = replace(self._driver, since=max(0, self._driver.since + by))
        self._clock = now

    def _is_of_before(self, record: Record | None) -> bool:
        """Whether the wall clock was set since, and what the record tells was seen before that."""
        now = read_clock()
        by = was_set(self._clock, now)
        at = None if record is None else _time(record)
        return abs(by) > SET_MICROS and at is not None and abs(at - now.wall + by) < abs(at - now.wall)

    def _fits(self, record: Record, draft: Draft) -> bool:
        """Whether the record's times are of the clock that the open report began with."""
        if isinstance(record, Ticked) and record.at <= draft.sampled:
            return False
        return abs(was_set(self._clock, read_clock())) <= SET_MICROS or self._is_of_before(record)

    def _add(self, record: Record) -> None:
        if self._draft is not None and not self._fits(record, self._draft):
            self.seal()
        draft = self._draft or self._begin(record)
        if isinstance(record, Ticked) and record.used is not None:
            self._described.complete(record.used, draft.pieces)
        draft.add(record)
        self._keeper.append(record)
        if draft.full:
            self.seal()

    def _take_states(self, states: list[State]) -> None:
        """Add those that differ from what was sent (a new reader tells all)."""
        changed = []
        for state in states:
            key = (state.gpu, state.metric)
            before = self._states.get(key)
            if before is None or before.stored != state.stored:
                self._states[key] = state
                changed.append(state)
        if changed:
            self._add(Changed(changed))

    def _take_gpus(self, gpus: list[Gpu]) -> None:
        """Send the roster if it changed; what changed in it is told by the server, which compares."""
        before = self._roster
        if before is not None and before.gpus == gpus and digest(self._new_roster(gpus)) == self._digest:
            return
        if before is not None and self._driver is not None and self._draft is not None:
            # What came before belongs to the roster before.
            self.seal()
        self._enlist(gpus)

    def _new_roster(self, gpus: list[Gpu]) -> Roster:
        return Roster(host=self._read_host(self._facts), gpus=gpus)

    def _enlist(self, gpus: list[Gpu]) -> None:
        self._roster = self._new_roster(gpus)
        self._digest = digest(self._roster)
        known = {gpu.uuid for gpu in gpus}
        self._states = {key: state for key, state in self._states.items() if key[0] in known}
        self._send_roster(with_states=False)

    def _send_roster(self, with_states: bool = True) -> None:
        if self._roster is None:
            return
        self._add(Enlisted(self._roster, self._digest))
        self._roster_seq = self._draft.seq if self._draft else 0
        if with_states and self._states:
            self._add(Changed(self.states))
        self._hurry()


def _time(record: Record) -> int | None:
    """When that which a record tells was seen, µs of the wall clock; None where it does not say."""
    if isinstance(record, Ticked):
        return record.at
    if isinstance(record, Happened):
        return record.events[0].at
    return record.states[0].at if isinstance(record, Changed) else None


def _said(event: Event) -> Iterator[str]:
    if event.code is not None:
        yield str(event.code)
    if event.gpu is not None:
        yield event.gpu
    if event.message:
        yield event.message
