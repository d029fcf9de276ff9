"""The reader's beat and what it tells, on a clock that the test moves."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from gpufleet_agent.backends.backend import DriverFacts, DriverGone, Tick
from gpufleet_agent.catalogue import EVERY_SAMPLE, Reason
from gpufleet_agent.runtime import reader as reader_module
from gpufleet_agent.runtime.frames import (
    Alive,
    Changed,
    Frame,
    Happened,
    Opened,
    Rostered,
    Splitter,
    Ticked,
    decode_frame,
)
from gpufleet_agent.runtime.reader import Reader
from gpufleet_agent.wire import Event, Gpu

from tests.agent.fake_driver import FakeBackend, FakeSession, uuid


class TimedSession(FakeSession):
    """A driver whose waits and samples take time only on the test's clock. It is gone after `end` seconds."""

    def __init__(self, folder: Path, end: float) -> None:
        super().__init__(FakeBackend(folder))
        self.now, self.end = 0.0, end
        self.sampled: list[float] = []
        self.surveyed: list[float] = []
        self.slow: dict[int, float] = {}
        self.happen: dict[float, list[Event]] = {}
        self.lost_from = float("inf")

    def clock(self) -> float:
        """The clock the reader goes by."""
        return self.now

    def gpus(self) -> list[Gpu]:
        """The GPUs; the first is lost from its time on."""
        gpus = super().gpus()
        gpus[0].state = "lost" if self.now >= self.lost_from else "ok"
        return gpus

    def sample(self) -> Tick | None:
        """A sample; it takes as long as `slow` says for its place in the row."""
        self.now += self.slow.get(len(self.sampled), 0.0)
        self.sampled.append(self.now)
        tick = super().sample()
        if tick is not None and self.now >= self.lost_from:
            tick.columns[EVERY_SAMPLE[0].name][0] = EVERY_SAMPLE[0].absent(Reason.LOST)
        return tick

    def states(self) -> dict[str, dict[str, int]]:
        """Two states that never change."""
        self.surveyed.append(self.now)
        return {uuid(0): {"pcie_replays": 3, "power_limit": 7}}

    def wait(self, seconds: float) -> list[Event]:
        """Move the clock on, to the next thing that happens or to the end."""
        if self.now >= self.end:
            raise DriverGone
        coming = [at for at in self.happen if at <= self.now + seconds]
        self.now = max(self.now, min(coming)) if coming else self.now + seconds
        return self.happen.pop(min(coming)) if coming else []


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """A pipe for the frames."""
    read_fd, write_fd = os.pipe()
    yield read_fd, write_fd
    os.close(read_fd)
    os.close(write_fd)


class Reading:
    """Runs readers until their driver is gone."""

    def __init__(self, pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
        self._pipe, self._monkeypatch = pipe, monkeypatch

    def frames(self, session: TimedSession, interval: float) -> list[Frame]:
        """What the reader told."""
        self._monkeypatch.setattr(reader_module, "monotonic", session.clock)
        with pytest.raises(DriverGone):
            Reader(session, interval, self._pipe[1]).run()
        return [decode_frame(body) for body in Splitter().feed(os.read(self._pipe[0], 1 << 20))]


@pytest.fixture
def reading(pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> Reading:
    """A place to run readers."""
    return Reading(pipe, monkeypatch)


def test_the_beat_does_not_drift(tmp_path: Path, reading: Reading) -> None:
    """The first sample comes after a second; one that takes long costs the beats it missed and shifts none."""
    session = TimedSession(tmp_path, 70)
    session.slow = {3: 0.25, 4: 23.0}
    reading.frames(session, 10)
    assert session.sampled == [0, 1, 11, 21.25, 54, 61, 71]


def test_a_slow_interval_shows_signs_of_life(tmp_path: Path, reading: Reading) -> None:
    """Between samples that are minutes apart the parent hears something every 5 s."""
    frames = reading.frames(TimedSession(tmp_path, 290), 300)
    assert sum(isinstance(frame, Alive) for frame in frames) >= 50


def test_states_are_looked_at_once_a_minute_and_told_when_changed(tmp_path: Path, reading: Reading) -> None:
    """An unchanged roster and unchanged states cost no frame."""
    session = TimedSession(tmp_path, 185)
    frames = reading.frames(session, 10)
    assert session.surveyed == [0, 60, 120, 180]
    assert sum(isinstance(frame, Rostered) for frame in frames) == 1
    assert [len(frame.states) for frame in frames if isinstance(frame, Changed)] == [2]


def test_an_event_is_told_at_once_and_states_are_looked_at(tmp_path: Path, reading: Reading) -> None:
    """An XID does not wait for the beat; what it changed is read at once, and once a second in a storm."""
    session = TimedSession(tmp_path, 20)
    session.happen = {5.0 + n / 8: [Event(at=1, kind="xid", code=79)] for n in range(5)}
    frames = reading.frames(session, 10)
    assert sum(isinstance(frame, Happened) for frame in frames) == 5
    assert [at for at in session.surveyed if 0 < at < 10] == [5.0, 6.0]


def test_a_lost_gpu_brings_the_roster_before_its_sample(tmp_path: Path, reading: Reading) -> None:
    """The first sample that says `lost` comes after the roster that says so."""
    session = TimedSession(tmp_path, 25)
    session.lost_from = 11
    frames = reading.frames(session, 10)
    place = [n for n, frame in enumerate(frames) if isinstance(frame, Rostered)][1]
    assert isinstance(frames[place + 1], Ticked)
    assert session.surveyed[1] == 11


def test_what_follows_the_load_is_told_as_of_the_sample(tmp_path: Path, reading: Reading) -> None:
    """The survey in between does not undo it: it has another moment, and another load."""

    class Loaded(TimedSession):
        """A link that is fast while samples are taken, and slow whenever else somebody looks."""

        def sample(self) -> Tick | None:
            tick = super().sample()
            return tick and replace(tick, states={uuid(0): {"pcie_link_generation": 5}})

        def states(self) -> dict[str, dict[str, int]]:
            return {uuid(0): super().states()[uuid(0)] | {"pcie_link_generation": 1}}

    frames = reading.frames(Loaded(tmp_path, 185), 10)
    first = next(frame.at for frame in frames if isinstance(frame, Ticked))
    states = [state for frame in frames if isinstance(frame, Changed) for state in frame.states]
    of_link = [state for state in states if state.metric == "pcie_link_generation"]
    assert [state.stored for state in of_link] == [1, 5]
    assert of_link[1].at == first


def test_a_service_that_ends_is_told(tmp_path: Path, reading: Reading) -> None:
    """What belongs to the driver is looked at once a minute, and told when it changed."""

    class Ending(TimedSession):
        """A driver whose service runs for a minute and a half."""

        def facts(self) -> DriverFacts:
            return replace(super().facts(), fabric_manager="running" if self.now < 90 else "stopped")

    session = Ending(tmp_path, 185)
    opened = [frame.facts.fabric_manager for frame in reading.frames(session, 10) if isinstance(frame, Opened)]
    assert opened == ["running", "stopped"]
