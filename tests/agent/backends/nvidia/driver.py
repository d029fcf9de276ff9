"""A session of the real backend on the simulated driver, and its answers in the metrics' units."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpufleet_agent.backends.backend import Session, Tick
from gpufleet_agent.backends.nvidia import NvidiaBackend
from gpufleet_agent.backends.nvidia.gpm import CLOSEST
from gpufleet_agent.catalogue import BY_NAME
from gpufleet_agent.wire import Event

from tests.nvml_sim.fixtures import driver
from tests.nvml_sim.scenario import Scenario

Shown = float | int | str | None


@contextmanager
def opened(scenario: Scenario, file: Path, probe_every: float = 60) -> Iterator[Session]:
    """A session on the scenario, which stays in `file` to be rewritten."""
    with driver(scenario, file):
        session = NvidiaBackend(probe_every).open()
        try:
            yield session
        finally:
            session.close()


def sampled(session: Session) -> Tick:
    """A sample that must be there."""
    tick = session.sample()
    assert tick is not None
    return tick


def sampled_over(session: Session, scenario: Scenario, file: Path, seconds: float = CLOSEST * 1.2) -> Tick:
    """The sample over so many seconds from now on, by the simulated driver's clock and in truth."""
    # The first one binds all readers, which takes its time; the second one begins the interval.
    session.sample()
    session.sample()
    time.sleep(seconds)
    if scenario.frozen is not None:
        scenario.freeze(scenario.frozen + seconds).write(file)
    return sampled(session)


def shown(metric: str, stored: int) -> Shown:
    """A value in the metric's unit, or the word for why it is absent."""
    entry = BY_NAME[metric]
    reason = entry.reason(stored)
    return entry.value(stored) if reason is None else reason.word


def of_gpu(tick: Tick, gpu: int = 0) -> dict[str, Shown]:
    """Metric → value or reason of one GPU of a tick."""
    return {name: shown(name, column[gpu]) for name, column in tick.columns.items()}


def stated(session: Session, uuid: str) -> dict[str, Shown]:
    """Metric → value or reason of one GPU's states."""
    return {name: shown(name, stored) for name, stored in session.states()[uuid].items()}


def wait_for(session: Session, kind: str, count: int = 1, seconds: float = 30) -> list[Event]:
    """The events of a kind, waited for until there are so many."""
    found: list[Event] = []
    deadline = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < deadline:
        found += [event for event in session.wait(deadline - time.monotonic()) if event.kind == kind]
    return found
