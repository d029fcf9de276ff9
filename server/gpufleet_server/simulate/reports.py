"""The reports of a simulated node: what it would send, with no clock and no network of its own."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import numpy as np
from gpufleet_agent.catalogue import BY_NAME
from gpufleet_agent.wire import (
    PROTOCOL,
    Backlog,
    Clock,
    Driver,
    Event,
    Report,
    Roster,
    Samples,
    State,
    digest,
)

from gpufleet_server.simulate import physics
from gpufleet_server.simulate.faults import SECOND, XID_TEXT, Fault, FaultKind
from gpufleet_server.simulate.identity import gpu_uuid, lost_indices, roster
from gpufleet_server.simulate.noise import Integers
from gpufleet_server.simulate.plan import SimNode

_STATES_EVERY = 60 * SECOND
_DTYPE = {2: "<i2", 4: "<i4", 8: "<i8"}


class Reporter:
    """Makes the reports of one node, one after the other. `interval` is in ms, times are true time in µs."""

    def __init__(self, node: SimNode, interval: int, started: int) -> None:
        self.node, self.interval = node, interval
        # What follows this moment (true time, µs) has not been reported yet.
        self.until = started
        self.stream = str(uuid.uuid4())
        self._boot = str(uuid.UUID(int=hash((node.seed, node.number)) & ((1 << 128) - 1)))
        self._seq = 0
        self._started = started
        self._told: dict[tuple[str, str], int] = {}
        self._states_at = 0
        self._digest = ""
        self._lost: frozenset[int | None] = frozenset()
        self._uuids = [gpu_uuid(node, index) for index in range(node.count)]

    def clock(self, at: int) -> Clock:
        """The node's clocks at a true time; its wall clock may be wrong."""
        return Clock(wall=at + self.node.skew, uptime=at - self._started + 3600 * SECOND, boot=self._boot)

    def want_roster(self) -> None:
        """Send the roster and all states with the next report: the server says it lacks them."""
        self._digest = ""
        self._told.clear()
        self._states_at = 0

    def skip(self, until: int) -> None:
        """Let the time until then go by unobserved: nothing is sampled and no event is seen."""
        self.until = until

    def next_event(self, before: int) -> int | None:
        """When the next event happens that has not been reported, if that is before `before`."""
        times = (t for fault in self.node.faults for t in self._happens(fault, self.until, before))
        return min(times, default=None)

    def report(self, now: int, backlog: Backlog) -> Report:
        """Everything since the report before, up to `now`."""
        since, self.until = self.until, now
        self._seq += 1
        driver = self._driver(now)
        sent = self._roster(now)
        return Report(
            version=PROTOCOL,
            node=self.node.id,
            stream=self.stream,
            seq=self._seq,
            created=self.clock(now),
            interval=self.interval,
            driver=driver,
            backlog=backlog,
            roster_digest=self._digest,
            roster=sent,
            samples=self._samples(since, now),
            states=self._states(now) if driver.state == "ok" else [],
            events=sorted(self._events(since, now), key=lambda event: event.at),
        )

    def _samples(self, since: int, now: int) -> list[Samples]:
        step = self.interval * 1000
        times: Integers = np.arange(since // step + 1, now // step + 1, dtype=np.int64) * step
        for fault in self.node.having(FaultKind.DRIVER):
            times = times[[not fault.active(int(at)) for at in times]]
        if not len(times):
            return []
        durations = np.full(len(times), self.interval, dtype=np.int64)
        stored = physics.samples(self.node, times, durations)
        return [
            Samples(
                gpus=self._uuids,
                times=(times + self.node.skew).astype("<i8").tobytes(),
                durations=durations.astype("<i4").tobytes(),
                columns={name: ints.astype(_DTYPE[BY_NAME[name].width]).tobytes() for name, ints in stored.items()},
            )
        ]

    def _roster(self, now: int) -> Roster | None:
        lost = lost_indices(self.node, now)
        if self._digest and lost == self._lost:
            return None
        current = roster(self.node, now)
        self._lost, self._digest = lost, digest(current)
        return current

    def _states(self, now: int) -> list[State]:
        if now - self._states_at < _STATES_EVERY:
            return []
        self._states_at = now
        changed = []
        for metric, values in physics.states(self.node, now).items():
            for gpu, stored in zip(self._uuids, values.tolist(), strict=True):
                if self._told.get((gpu, metric)) != stored:
                    self._told[gpu, metric] = stored
                    changed.append(State(now + self.node.skew, gpu, metric, stored))
        return changed

    def _driver(self, now: int) -> Driver:
        for fault in self.node.having(FaultKind.DRIVER):
            if fault.active(now):
                return Driver(state="unresponsive", since=fault.start + self.node.skew, detail=_HUNG)
        ends = (fault.end for fault in self.node.having(FaultKind.DRIVER) if fault.end is not None and fault.end <= now)
        return Driver(state="ok", since=max(ends, default=self._started) + self.node.skew)

    def _events(self, since: int, now: int) -> Iterator[Event]:
        for fault in self.node.faults:
            for at in self._happens(fault, since, now):
                yield self._event(fault, at)

    @staticmethod
    def _happens(fault: Fault, since: int, now: int) -> Iterator[int]:
        if fault.kind in (FaultKind.XID, FaultKind.LOST, FaultKind.DRIVER):
            yield from fault.times(since, now)
        if fault.kind is FaultKind.DRIVER and fault.end is not None and since < fault.end <= now:
            yield fault.end

    def _event(self, fault: Fault, at: int) -> Event:
        gpu = None if fault.gpu is None else self._uuids[fault.gpu]
        told = at + self.node.skew
        if fault.kind is FaultKind.XID and fault.code is not None:
            return Event(at=told, kind="xid", gpu=gpu, code=fault.code, source="nvml", message=XID_TEXT[fault.code])
        if fault.kind is FaultKind.LOST:
            return Event(at=told, kind="gpu_lost", gpu=gpu, source="nvml", message="the GPU has fallen off the bus")
        if at == fault.end:
            return Event(at=told, kind="driver_recovered", message="the driver answers again")
        return Event(at=told, kind="driver_unresponsive", message=_HUNG)


_HUNG = "a driver call has not returned for 10 s while it was read"
