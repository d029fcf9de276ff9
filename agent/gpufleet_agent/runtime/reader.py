"""The reader: a child process that owns the driver session and tells the parent what it sees."""

from __future__ import annotations

import contextlib
import math
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

from gpufleet_agent.backends.backend import DriverFacts, ProcessList, Session, Tick
from gpufleet_agent.catalogue import EVERY_SAMPLE, Reason
from gpufleet_agent.runtime.clock import monotonic, wall
from gpufleet_agent.runtime.frames import (
    Alive,
    Changed,
    Frame,
    Happened,
    Listed,
    Opened,
    Rostered,
    encode,
    ticked,
)
from gpufleet_agent.usage.entries import Used
from gpufleet_agent.wire import Gpu, State

# What is told of the processes: all of them as they are, or of a sample how it was used.
Attribute = Callable[[Sequence[ProcessList], "Tick | None", Sequence[Gpu]], "Listed | Used | None"]
SURVEY_SECONDS = 60.0
ALIVE_SECONDS = 5.0
# The first sample comes soon, whatever the interval: somebody may be waiting for it.
FIRST_SECONDS = 1.0
_PR_SET_PDEATHSIG = 1


class Reader:
    """Samples on a fixed beat, looks at roster and states once a minute, and listens for events in between.

    With `attribute` it also tells with every sample who holds the GPUs.
    """

    def __init__(self, session: Session, interval: float, fd: int, attribute: Attribute | None = None) -> None:
        self._session, self._interval, self._fd, self._attribute = session, interval, fd, attribute
        self._gpus: list[Gpu] = []
        self._facts: DriverFacts | None = None
        self._states: dict[tuple[str, str], int] = {}
        self._load_states: dict[tuple[str, str], int] = {}
        self._shape: tuple[object, ...] | None = None
        self._surveyed = -math.inf
        self._survey_due = 0.0
        self._told = 0.0

    def run(self) -> None:
        """Read until the session ends. DriverGone and whatever else the backend raises; BrokenPipeError at the end."""
        self._survey()
        self._sample()
        due = monotonic() + min(self._interval, FIRST_SECONDS)
        while True:
            self._listen(due)
            if monotonic() >= due:
                self._sample()
                # Beats that were missed are left out, so that the schedule never drifts.
                due += self._interval * max(1, math.ceil((monotonic() - due) / self._interval))
            if monotonic() >= self._survey_due:
                self._survey()

    def _listen(self, due: float) -> None:
        events = self._session.wait(min(max(0.0, min(due, self._survey_due) - monotonic()), ALIVE_SECONDS))
        if events:
            self._tell(Happened(events))
            # An XID tends to come with new error counts; a storm of them must not become a storm of surveys.
            self._survey_due = min(self._survey_due, self._surveyed + 1)
        elif monotonic() - self._told >= ALIVE_SECONDS - 0.5:
            self._tell(Alive())

    def _sample(self) -> None:
        tick = self._session.sample()
        # Right after the sample: both are about the same time.
        lists = self._session.processes() if self._attribute is not None else []
        if tick is not None:
            shape = _shape(tick)
            if self._shape not in (None, shape):
                self._survey()
            self._shape = shape
            self._load_states = _by_gpu_and_metric(tick.states)
            self._tell_changed(self._load_states, tick.at)
        found = self._attribute(lists, tick, self._gpus) if self._attribute is not None else None
        if isinstance(found, Listed):
            self._tell(found)
        self._tell(Alive() if tick is None else ticked(tick, found if isinstance(found, Used) else None))

    def _survey(self) -> None:
        """Tell what changed in the roster and in the metrics that are sent on change."""
        facts = self._session.facts()
        if facts != self._facts:
            self._facts = facts
            self._tell(Opened(facts, self._session.xid_gpus()))
        gpus = self._session.gpus()
        if gpus != self._gpus or self._surveyed == -math.inf:
            self._gpus = gpus
            self._tell(Rostered(gpus))
        at, now = wall(), _by_gpu_and_metric(self._session.states())
        # What follows the load is told with samples only: between them nobody knows what the load was.
        now.update((key, stored) for key, stored in self._load_states.items() if key in now)
        self._tell_changed(now, at)
        self._states = now
        self._surveyed = monotonic()
        self._survey_due = self._surveyed + SURVEY_SECONDS

    def _tell_changed(self, now: dict[tuple[str, str], int], at: int) -> None:
        changed = [State(at, *key, stored) for key, stored in now.items() if self._states.get(key) != stored]
        if changed:
            self._states |= now
            self._tell(Changed(changed))

    def _tell(self, frame: Frame) -> None:
        send(self._fd, frame)
        self._told = monotonic()


def _by_gpu_and_metric(states: dict[str, dict[str, int]]) -> dict[tuple[str, str], int]:
    return {(gpu, name): stored for gpu, of_gpu in states.items() for name, stored in of_gpu.items()}


def _shape(tick: Tick) -> tuple[object, ...]:
    """The GPUs of a tick, which of them are lost, and the partitions."""
    metric = EVERY_SAMPLE[0]
    lost = metric.absent(Reason.LOST)
    return (*tick.gpus, *(value == lost for value in tick.columns.get(metric.name, ())), *tick.partitions)


def send(fd: int, frame: Frame) -> None:
    """Write a frame whole; blocks while the pipe is full."""
    data = memoryview(encode(frame))
    while data:
        data = data[os.write(fd, data) :]


def settle(parent: int, *keep: int) -> None:
    """Part from the parent: own signals, none of its files but those to keep, and an end when it ends."""
    import ctypes

    signal.set_wakeup_fd(-1)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Not up to the limit: in containers that may be a billion.
    for fd in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if fd > 2 and fd not in keep:
            with contextlib.suppress(OSError):  # the listing's own
                os.close(fd)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(0)
