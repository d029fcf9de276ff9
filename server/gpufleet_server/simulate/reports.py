"""The reports of simulated nodes: what they would send, with no clock and no network of their own."""

from __future__ import annotations

import uuid
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from gpufleet_agent.catalogue import ON_CHANGE
from gpufleet_agent.wire import (
    PROTOCOL,
    Backlog,
    Clock,
    Driver,
    Event,
    Holder,
    Report,
    Roster,
    Samples,
    State,
    Usage,
    digest,
)

from gpufleet_server.simulate import physics
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.faults import SECOND, XID_TEXT, Fault, FaultKind
from gpufleet_server.simulate.holders import Places
from gpufleet_server.simulate.identity import gpu_uuid, lost_indices, roster
from gpufleet_server.simulate.noise import Integers
from gpufleet_server.simulate.plan import SimNode
from gpufleet_server.simulate.usage import Usages

_ON_CHANGE = [metric.name for metric in ON_CHANGE]
_HUNG = "a driver call has not returned for 10 s while it was read"


@dataclass(frozen=True, slots=True)
class Closed:
    """A report that was closed: all that it takes to write it, the same each time. It tells of (since, until] µs.

    With `first_seq` it is the reports from there to `seq`, joined.
    """

    seq: int
    since: int
    until: int
    backlog: Backlog
    states: Sequence[State] = ()
    with_roster: bool = False
    first_seq: int = 0


class Sampled:
    """Samples of N nodes with equally many GPUs at T times, as the bytes that go on the wire."""

    def __init__(self, boards: Boards, times: Integers, interval: int) -> None:
        """`times` in µs of true time, `interval` in ms."""
        count, nodes = len(times), len(boards.nodes)
        gpus = len(boards) // nodes
        durations = np.full(count, interval, dtype=np.int64)
        columns = physics.columns(boards, times, durations) if count else {}
        self.times: list[int] = times.tolist()
        self._times, self._durations = times.astype("<i8").tobytes(), durations.astype("<i4").tobytes()
        self._columns = [
            # Node by node: what one node sends then lies together.
            (name, stored.itemsize * gpus, stored.reshape(count, nodes, gpus).swapaxes(0, 1).tobytes())
            for name, stored in columns.items()
        ]
        lost = physics.lost_gpus(boards, times)
        present = np.broadcast_to(boards.present, (count, len(boards))) if lost is None else boards.present * ~lost
        each = present.reshape(count, nodes, gpus).sum(axis=2)
        # Values of each node before each of the times, and after them all.
        self._usages = Usages(boards, times, interval, columns, lost) if count else None
        self._values: list[list[int]] = np.concatenate([np.zeros((1, nodes), np.int64), each.cumsum(axis=0)]).tolist()

    def samples(self, number: int, reporter: Reporter, since: int, until: int) -> list[Samples]:
        """The samples of one of the nodes within (since, until], while its driver answered."""
        rows = self._rows(reporter, since, until)
        if not rows:
            return []
        begin = number * len(self.times)
        if len(rows) == 1:
            first, last = begin + rows[0][0], begin + rows[0][1]
            columns = {name: data[first * width : last * width] for name, width, data in self._columns}
        else:
            columns = {
                name: b"".join(data[(begin + first) * width : (begin + last) * width] for first, last in rows)
                for name, width, data in self._columns
            }
        times = b"".join([self._times[8 * first : 8 * last] for first, last in rows])
        if reporter.node.skew:
            times = (np.frombuffer(times, "<i8") + reporter.node.skew).astype("<i8").tobytes()
        return [
            Samples(gpus=reporter.uuids, times=times, durations=self._durations[: len(times) // 2], columns=columns)
        ]

    def usage(self, number: int, reporter: Reporter, since: int, until: int) -> tuple[list[Holder], list[Usage]]:
        """Who held the GPUs of one of the nodes within (since, until], and what for."""
        if self._usages is None:
            return [], []
        rows: list[tuple[int, int]] = []
        for first, last in self._rows(reporter, since, until):
            goes_on = bool(rows) and rows[-1][1] == first
            rows.append((rows.pop()[0] if goes_on else first, last))
        return self._usages.of(number, reporter.places, rows)

    def values(self, number: int, reporter: Reporter, since: int, until: int) -> int:
        """How many values, absent ones left out, those samples hold."""
        rows = self._rows(reporter, since, until)
        return sum(self._values[last][number] - self._values[first][number] for first, last in rows)

    def _rows(self, reporter: Reporter, since: int, until: int) -> list[tuple[int, int]]:
        first, last = bisect_right(self.times, since), bisect_right(self.times, until)
        for fault in reporter.hangs:
            seen = [row for row in range(first, last) if not fault.active(self.times[row])]
            if len(seen) < last - first:
                return [(row, row + 1) for row in seen]
        return [(first, last)] if last > first else []


def grid(since: int, until: int, interval: int) -> Integers:
    """When a GPU is sampled within (since, until] µs, at an interval of so many ms."""
    step = interval * 1000
    times: Integers = np.arange(since // step + 1, until // step + 1, dtype=np.int64) * step
    return times


class Reporter:
    """What one node tells. `interval` is in ms; times are true time in µs: the node's own clock may be wrong."""

    __slots__ = ("_boot", "_digests", "_well", "hangs", "interval", "node", "places", "started", "stream", "uuids")

    def __init__(self, node: SimNode, interval: int, started: int) -> None:
        self.node, self.interval, self.started = node, interval, started
        self.stream = str(uuid.uuid4())
        self.uuids = [gpu_uuid(node, index) for index in range(node.count)]
        self.places = Places(node, self.uuids)
        self.hangs = node.having(FaultKind.DRIVER)
        self._boot = str(uuid.UUID(int=hash((node.seed, node.number)) & ((1 << 128) - 1)))
        self._well = Driver(state="ok", since=started + node.skew)
        self._digests: dict[frozenset[int | None], str] = {}

    def clock(self, at: int) -> Clock:
        """The node's clocks at a true time."""
        return Clock(wall=at + self.node.skew, uptime=at - self.started + 3600 * SECOND, boot=self._boot)

    def next_event(self, after: int) -> int | None:
        """When the next event after that time happens."""
        times = (_next(fault, after) for fault in self.node.faults)
        return min((at for at in times if at is not None), default=None)

    def states(self, at: int, told: Iterable[tuple[int, int, int]]) -> list[State]:
        """States as they are told, of (GPU's index, place of the metric in ON_CHANGE, stored integer)."""
        wall, uuids = at + self.node.skew, self.uuids
        return [State(wall, uuids[gpu], _ON_CHANGE[metric], stored) for gpu, metric, stored in told]

    def hung(self, at: int) -> bool:
        """Whether the driver does not answer."""
        return any(fault.active(at) for fault in self.hangs)

    def events(self, since: int, until: int) -> list[Event]:
        """What happened within (since, until]."""
        found = [self._event(fault, at) for fault in self.node.faults for at in _happens(fault, since, until)]
        return sorted(found, key=lambda event: event.at)

    def report(self, closed: Closed, samples: list[Samples]) -> Report:
        """The report, with these samples."""
        current = self._roster(closed.until) if closed.with_roster else None
        return Report(
            version=PROTOCOL,
            node=self.node.id,
            stream=self.stream,
            seq=closed.seq,
            first_seq=closed.first_seq,
            created=self.clock(closed.until),
            interval=self.interval,
            driver=self._driver(closed.until),
            backlog=closed.backlog,
            roster_digest=self._digest(closed.until),
            roster=current,
            samples=samples,
            states=list(closed.states),
            events=self.events(closed.since, closed.until) if self.node.faults else [],
        )

    def _roster(self, at: int) -> Roster:
        current = roster(self.node, at)
        self._digests[lost_indices(self.node, at)] = digest(current)
        return current

    def _digest(self, at: int) -> str:
        lost = lost_indices(self.node, at)
        if lost not in self._digests:
            self._roster(at)
        return self._digests[lost]

    def _driver(self, at: int) -> Driver:
        if not self.hangs:
            return self._well
        for fault in self.hangs:
            if fault.active(at):
                return Driver(state="unresponsive", since=fault.start + self.node.skew, detail=_HUNG)
        ends = (fault.end for fault in self.hangs if fault.end is not None and fault.end <= at)
        return Driver(state="ok", since=max(ends, default=self.started) + self.node.skew)

    def _event(self, fault: Fault, at: int) -> Event:
        gpu = None if fault.gpu is None else self.uuids[fault.gpu]
        told = at + self.node.skew
        if fault.kind is FaultKind.XID and fault.code is not None:
            return Event(at=told, kind="xid", gpu=gpu, code=fault.code, source="nvml", message=XID_TEXT[fault.code])
        if fault.kind is FaultKind.LOST:
            return Event(at=told, kind="gpu_lost", gpu=gpu, source="nvml", message="the GPU has fallen off the bus")
        if at == fault.end:
            return Event(at=told, kind="driver_recovered", message="the driver answers again")
        return Event(at=told, kind="driver_unresponsive", message=_HUNG)


def _happens(fault: Fault, since: int, until: int) -> Iterator[int]:
    """When a fault shows as an event within (since, until]."""
    if fault.kind in (FaultKind.XID, FaultKind.LOST, FaultKind.DRIVER):
        yield from fault.times(since, until)
    if fault.kind is FaultKind.DRIVER and fault.end is not None and since < fault.end <= until:
        yield fault.end


def _next(fault: Fault, after: int) -> int | None:
    """When a fault shows as an event next after that time."""
    horizon = max(fault.start, fault.end or 0, after + (fault.every or 0))
    return min(_happens(fault, after, horizon), default=None)
