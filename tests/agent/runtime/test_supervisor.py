"""The supervisor with real readers in real processes."""

import os
import select
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from gpufleet_agent.backends.backend import Backend
from gpufleet_agent.runtime import supervisor as supervisor_module
from gpufleet_agent.runtime.frames import Alive, Changed, Frame, Opened, Rostered, Ticked
from gpufleet_agent.runtime.reader_lock import ReaderLock
from gpufleet_agent.runtime.supervisor import Patience, Supervisor
from gpufleet_agent.wire import Driver, Gpu

from tests.agent.fake_driver import FakeBackend, FakeSession
from tests.agent.process import until

# A minute of silence: a busy machine may keep a reader waiting for seconds.
PATIENCE = Patience(silence=60.0, opening=60.0, restart=0.05, restart_absent=0.05, restart_most=0.2)


class Watch:
    """Tends a supervisor as the agent's loop does, and gathers what comes of it."""

    def __init__(self, backend: Backend, patience: Patience = PATIENCE, lock: ReaderLock | None = None) -> None:
        self.supervisor = Supervisor(backend, 0.1, patience, lock=lock)
        self.frames: list[Frame] = []
        self.kinds: list[str] = []

    @property
    def ticks(self) -> int:
        """Samples so far."""
        return sum(isinstance(frame, Ticked) for frame in self.frames)

    @property
    def told(self) -> tuple[str, str]:
        """State and detail of the driver."""
        driver = self.supervisor.driver
        return (driver.state, driver.detail) if driver else ("", "")

    def until(self, condition: Callable[[], object]) -> None:
        """Tend until the condition holds."""
        until(lambda: self.tend(0.02) and condition())

    def tend(self, seconds: float) -> bool:
        """One round; always true."""
        select.select([] if self.supervisor.fd is None else [self.supervisor.fd], [], [], seconds)
        self.frames += self.supervisor.tend()
        self.kinds += [event.kind for event in self.supervisor.take_events()]
        return True


def test_roster_and_states_come_before_the_first_tick(tmp_path: Path) -> None:
    """Whoever is new hears everything once, then what moves."""
    watch = Watch(FakeBackend(tmp_path))
    watch.until(lambda: watch.ticks >= 3)
    watch.supervisor.stop()
    assert [type(frame) for frame in watch.frames[:5]] == [Opened, Rostered, Changed, Alive, Ticked]
    assert watch.told == ("ok", "")
    assert watch.kinds == []


class _Broken(FakeBackend):
    def open(self, known: Sequence[Gpu] = ()) -> FakeSession:
        """Raise what no backend should."""
        raise ZeroDivisionError("a bug in a backend")


def test_a_bug_in_a_backend_is_a_fault_and_not_the_end(tmp_path: Path) -> None:
    """The parent hears what was raised, and tries again."""
    watch = Watch(_Broken(tmp_path))
    watch.until(lambda: len(watch.frames) >= 2)
    watch.supervisor.stop()
    assert watch.told == ("failed", "the reader failed: ZeroDivisionError: a bug in a backend")
    assert watch.kinds == ["driver_failed"]


def test_a_driver_that_was_reloaded_is_opened_again(tmp_path: Path) -> None:
    """DriverGone ends the session; the next one begins by itself."""
    watch = Watch(FakeBackend(tmp_path))
    watch.until(lambda: watch.ticks)
    (tmp_path / "gone").touch()
    watch.until(lambda: watch.kinds)
    (tmp_path / "gone").unlink()
    watch.until(lambda: len(watch.kinds) > 1)
    watch.supervisor.stop()
    assert watch.kinds == ["driver_failed", "driver_recovered"]


def test_a_reader_that_cannot_be_killed_is_never_joined_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stuck in the kernel, it keeps its place for ever; the agent says so and goes on."""
    (tmp_path / "hang-open").touch()
    watch = Watch(FakeBackend(tmp_path), replace(PATIENCE, opening=0.5))
    forks: list[int] = []
    fork = os.fork

    def counted() -> int:
        forks.append(0)
        return fork()

    monkeypatch.setattr(os, "fork", counted)
    monkeypatch.setattr(supervisor_module, "_STUCK_SECONDS", 0.2)
    # A process in uninterruptible sleep looks like this: the signal is sent and nothing comes of it.
    monkeypatch.setattr(os, "waitpid", lambda pid, options: (0, 0))
    watch.until(lambda: "hangs in the kernel" in watch.told[1])
    for _ in range(20):
        watch.tend(0.01)
    assert len(forks) == 1
    monkeypatch.undo()
    (tmp_path / "hang-open").unlink()
    watch.until(lambda: watch.ticks)
    watch.supervisor.stop()
    assert watch.kinds == ["driver_unresponsive", "driver_recovered"]


def test_an_agent_that_stood_still_does_not_blame_the_driver(tmp_path: Path) -> None:
    """A container that was frozen, a process that was stopped: the reader is the same and nothing is told."""
    watch = Watch(FakeBackend(tmp_path), Patience(silence=3.0))
    watch.until(lambda: watch.ticks)
    reader = watch.supervisor._pid
    os.kill(reader, signal.SIGSTOP)
    watch.tend(0.02)
    time.sleep(5.0)
    watch.tend(0)
    os.kill(reader, signal.SIGCONT)
    before = watch.ticks
    watch.until(lambda: watch.ticks > before + 1)
    assert (watch.kinds, watch.supervisor._pid) == ([], reader)
    watch.supervisor.stop()


def test_no_descriptor_leaks_into_the_reader(tmp_path: Path) -> None:
    """The reader holds its pipe and the standard three: no port, no lock, no journal of its parent."""
    leaked = os.open(tmp_path, os.O_RDONLY)
    watch = Watch(FakeBackend(tmp_path))
    watch.until(lambda: watch.ticks)
    assert len(list(Path(f"/proc/{watch.supervisor._pid}/fd").iterdir())) == 4
    watch.supervisor.stop()
    os.close(leaked)


def test_a_reader_that_another_agent_left_behind_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It hangs in the kernel after its agent has ended: none is started beside it, and nobody says that it let go."""
    monkeypatch.setattr(supervisor_module, "_STUCK_SECONDS", 0.2)
    held = ReaderLock(tmp_path).take()
    assert held is not None
    watch = Watch(FakeBackend(tmp_path), lock=ReaderLock(tmp_path))
    watch.until(lambda: "an agent before this one" in watch.told[1])
    assert (watch.told[0], watch.supervisor.reader, watch.kinds) == ("unresponsive", 0, ["driver_unresponsive"])
    watch.supervisor.pause(Driver(state="paused", since=1))
    watch.tend(0)
    assert (watch.supervisor.has_let_go, watch.supervisor.is_stuck) == (False, True)
    os.close(held)
    watch.until(lambda: watch.supervisor.has_let_go)
    watch.supervisor.resume()
    watch.until(lambda: watch.ticks)
    # The reader has it now, and gives it back with its end, however that comes.
    assert ReaderLock(tmp_path).take() is None
    os.kill(watch.supervisor.reader, signal.SIGKILL)
    watch.until(lambda: "reader_crashed" in watch.kinds and watch.supervisor.reader)
    watch.supervisor.stop()
    lock = ReaderLock(tmp_path).take()
    assert lock is not None
    os.close(lock)
