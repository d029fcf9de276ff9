"""Reads the driver once, in a reader with a deadline."""

from __future__ import annotations

import select
from dataclasses import dataclass, field

from gpufleet_agent.backends.backend import Backend, DriverFacts
from gpufleet_agent.runtime.clock import monotonic, wall
from gpufleet_agent.runtime.frames import Alive, Changed, Frame, Happened, Listed, Opened, Rostered, Ticked
from gpufleet_agent.runtime.supervisor import Patience, Supervisor
from gpufleet_agent.usage.attribution import Attribution
from gpufleet_agent.usage.holder import GpuUsage
from gpufleet_agent.wire import Driver, Event, Gpu, State


@dataclass
class Probe:
    """What a driver gave: all of it where `driver` is ok."""

    driver: Driver
    facts: DriverFacts | None = None
    gpus: list[Gpu] | None = None
    states: list[State] = field(default_factory=list)
    xid_gpus: list[str] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    usage: list[GpuUsage] = field(default_factory=list)
    tick: Ticked | None = None
    complete: bool = False

    def take(self, frame: Frame) -> None:
        """Note what the reader told."""
        if isinstance(frame, Opened):
            self.facts, self.xid_gpus = frame.facts, frame.xid_gpus
        elif isinstance(frame, Rostered):
            self.gpus = frame.gpus
        elif isinstance(frame, Changed):
            self.states += frame.states
        elif isinstance(frame, Happened):
            self.events += frame.events
        elif isinstance(frame, Listed):
            self.usage = frame.gpus
        elif isinstance(frame, Ticked):
            self.tick, self.complete = frame, True
        elif isinstance(frame, Alive) and self.gpus == []:
            self.complete = True


def probe(backend: Backend, seconds: float, interval: float = 1.0, attribution: Attribution | None = None) -> Probe:
    """One whole sample over `interval` seconds; what there is of it after `seconds`."""
    began = wall()
    found = Probe(Driver(state="unresponsive", since=began, detail=f"no whole sample within {seconds:g} s"))
    attribute = (lambda lists, _tick, _gpus: Listed(attribution.attribute(lists))) if attribution else None
    supervisor = Supervisor(backend, interval, Patience(silence=seconds, opening=seconds), attribute)
    end = monotonic() + seconds
    try:
        while not found.complete and monotonic() < end:
            for frame in supervisor.tend():
                found.take(frame)
            driver = supervisor.driver
            if driver is not None and (driver.state != "ok" or found.complete):
                found.driver = driver
                break
            fds = [] if supervisor.fd is None else [supervisor.fd]
            select.select(fds, [], [], max(0.0, min(supervisor.due, end) - monotonic()))
    finally:
        supervisor.stop()
    return found
