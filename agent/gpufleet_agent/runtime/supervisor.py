"""Keeps one reader at work: notices when it hangs, dies or has no driver, and starts the next when that is safe."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import time
from dataclasses import dataclass
from typing import Literal

import msgspec

from gpufleet_agent.backends.backend import Backend, DriverAbsent, DriverGone
from gpufleet_agent.runtime.clock import monotonic, wall
from gpufleet_agent.runtime.frames import Alive, Fault, Frame, Opened, Rostered, Splitter, Ticked, decode_frame
from gpufleet_agent.runtime.known import KnownGpus
from gpufleet_agent.runtime.reader import ALIVE_SECONDS, Attribute, Reader, send, settle
from gpufleet_agent.runtime.reader_lock import ReaderLock, release
from gpufleet_agent.wire import Driver, Event, Gpu

_PIPE_BYTES = 1 << 20
_STUCK_SECONDS = 5.0
# A reader that runs says something within this time: it is a little more than its sign of life takes.
_WORD_SECONDS = ALIVE_SECONDS + 1
# Nobody was kept waiting this long for a processor: the process was stopped, or waited for the server.
_LATE_SECONDS = 1.0
_EXIT_ABSENT, _EXIT_FAILED = 3, 4
DriverState = Literal["ok", "unresponsive", "absent", "failed"]


@dataclass(frozen=True)
class Patience:
    """How long to wait, in seconds: for an open driver to say something, for it to open, and between readers."""

    silence: float
    opening: float = 60.0
    restart: float = 1.0
    restart_absent: float = 10.0
    restart_most: float = 60.0

    @classmethod
    def with_interval(cls, seconds: float) -> Patience:
        """What suits a sampling interval. A reader says at least every 5 s that it is alive."""
        return cls(silence=max(3 * min(seconds, 5.0), 10.0))


class Supervisor:
    """At most one reader at a time, ever: where one cannot be killed (stuck in the kernel) no other is started."""

    def __init__(
        self,
        backend: Backend,
        interval: float,
        patience: Patience | None = None,
        attribute: Attribute | None = None,
        known: KnownGpus | None = None,
        lock: ReaderLock | None = None,
    ) -> None:
        """`known`: the GPUs of the session before; the next one tells which of them it does not find.

        `lock` is what readers hold, so that none is started beside one that an agent before this one has left behind.
        """
        self._backend, self._interval, self._attribute = backend, interval, attribute
        self._patience = patience or Patience.with_interval(interval)
        self._pid = 0
        self.fd: int | None = None
        self._splitter = Splitter()
        self._heard = monotonic()
        self._opened = False
        self._killed_at: float | None = None
        self._started = self._closed_at = 0.0
        self._restart_at = self._expected = monotonic()
        self._delay = 0.0
        self._driver: Driver | None = None
        self._events: list[Event] = []
        # How the driver stands while it is let go of; None while it is to be read.
        self._paused: Driver | None = None
        self._left: list[Frame] = []
        self._known, self._lock = known, lock
        # Since when the lock is waited for.
        self._locked_since: float | None = None

    @property
    def driver(self) -> Driver | None:
        """How the driver answers; None until that is known."""
        return self._driver

    @property
    def reader(self) -> int:
        """The process that reads the driver, 0 where there is none."""
        return self._pid

    @property
    def has_let_go(self) -> bool:
        """Whether the driver is let go of: no process of the agent has it open, and none will until `resume`."""
        return not self._pid and self._paused is not None and self._driver == self._paused

    @property
    def is_stuck(self) -> bool:
        """Whether the reader hangs in the kernel, where it cannot be ended."""
        since = self._killed_at if self._pid else self._locked_since
        return since is not None and monotonic() - since > _STUCK_SECONDS

    @property
    def due(self) -> float:
        """When `tend` is wanted at the latest (monotonic seconds)."""
        if not self._pid:
            return float("inf") if self.has_let_go else self._restart_at
        if self.fd is None:
            return monotonic() + (0.02 if monotonic() - self._closed_at < 1 else 1.0)
        return self._heard + self._allowed

    def tend(self) -> list[Frame]:
        """Do what is due; the frames that came. Never blocks."""
        frames, self._left = self._left + self._receive(), []
        for frame in frames:
            self._note(frame)
        if self._pid:
            self._reap()
        self._forgive()
        if self.fd is not None and monotonic() - self._heard > self._allowed:
            self._give_up()
        if not self._pid and self._paused is not None:
            self._let_go(self._paused)
        elif not self._pid and monotonic() >= self._restart_at:
            self._start()
        self._expected = self.due
        return frames

    def pause(self, driver: Driver) -> None:
        """Let go of the driver, and leave it alone until `resume`; `driver` is how it stands once that is done."""
        self._paused, self._restart_at = driver, monotonic()
        # Whoever pauses may take GPUs out: those that are not there afterwards are not lost.
        self._note_gpus([])
        if self._pid and self._killed_at is None:
            # What it still had to say is not lost with its pipe.
            self._left += self._receive()
            self._kill()

    def resume(self) -> None:
        """Read the driver again, as soon as no reader of before is left."""
        self._paused, self._restart_at, self._delay = None, monotonic(), 0.0

    def take_events(self) -> list[Event]:
        """What happened to driver and reader since the call before."""
        events, self._events = self._events, []
        return events

    def stop(self, seconds: float = 1.0) -> list[Frame]:
        """End the reader, and give what it still had to say; one that is stuck in the kernel is left behind."""
        frames, self._left = self._left + self._receive(), []
        if self._pid:
            self._kill()
        end = monotonic() + seconds
        while self._pid and monotonic() < end:
            self._reap()
            if self._pid:
                time.sleep(0.005)
        self._restart_at = float("inf")
        return frames

    @property
    def _allowed(self) -> float:
        return self._patience.silence if self._opened else self._patience.opening

    def _let_go(self, paused: Driver) -> None:
        if self._driver != paused and (lock := self._take_lock()) is not None:
            release(lock)
            self._driver = paused

    def _take_lock(self) -> int | None:
        """What the next reader is to hold; None where one of another agent has it, which is then waited for."""
        lock = self._lock.take() if self._lock is not None else -1
        now = monotonic()
        if lock is not None:
            self._locked_since = None
        elif self._locked_since is None:
            # It dies with its agent, a moment later.
            self._locked_since = now
        elif self.is_stuck:
            text = "a reader of an agent before this one hangs in the kernel; no other is started"
            self._stand("unresponsive", text)
        self._restart_at = now + (1.0 if self.is_stuck else 0.05)
        return lock

    def _start(self) -> None:
        lock = self._take_lock()
        if lock is None:
            return
        try:
            known = self._known.gpus if self._known is not None else []
            self._pid, self.fd = _fork_reader(self._backend, known, self._interval, self._attribute, lock)
        except OSError as error:
            self._stand("failed", f"no reader could be started: {error}")
            self._restart_at = monotonic() + self._patience.restart_most
            return
        finally:
            release(lock)
        os.set_blocking(self.fd, False)
        with contextlib.suppress(OSError):  # the bound for unprivileged pipes may be lower
            fcntl.fcntl(self.fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._splitter = Splitter()
        self._heard = self._started = monotonic()
        self._opened, self._killed_at = False, None

    def _receive(self) -> list[Frame]:
        if self.fd is None:
            return []
        frames: list[Frame] = []
        try:
            while data := os.read(self.fd, _PIPE_BYTES):
                self._heard = monotonic()
                frames += [decode_frame(body) for body in self._splitter.feed(data)]
            self._close_pipe()
        except BlockingIOError:
            pass
        except (ValueError, msgspec.MsgspecError) as error:
            self._stand("failed", f"the reader sent something unreadable: {error}")
            self._kill()
        return frames

    def _note(self, frame: Frame) -> None:
        if isinstance(frame, Fault):
            self._stand(frame.state, frame.text)
            return
        self._opened = True
        if isinstance(frame, Rostered) and self._paused is None:
            self._note_gpus(frame.gpus)
        # A tick and a sign of life come only after the driver has answered a whole sample.
        if isinstance(frame, (Ticked, Alive)) or (self._driver is None and not isinstance(frame, Opened)):
            self._stand("ok", "")

    def _note_gpus(self, gpus: list[Gpu]) -> None:
        if self._known is not None:
            self._known.note(gpus)

    def _forgive(self) -> None:
        """Where this process itself stood still, the reader may have too: it gets time to say a word."""
        now = monotonic()
        if now - self._expected > _LATE_SECONDS:
            self._heard = max(self._heard, now - max(0.0, self._allowed - _WORD_SECONDS))

    def _give_up(self) -> None:
        silent = monotonic() - self._heard
        doing = "while it was read" if self._opened else "while it was opened"
        text = f"a driver call has not returned for {silent:.0f} s {doing}"
        self._stand("unresponsive", text, since=wall() - int(silent * 1e6))
        self._kill()

    def _kill(self) -> None:
        self._close_pipe()
        os.kill(self._pid, signal.SIGKILL)
        self._killed_at = self._killed_at or monotonic()

    def _reap(self) -> None:
        """See whether the reader has ended. Its pipe is read to the end first: that comes from `_receive`."""
        if self.fd is not None:
            return
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            self._bury(status)
        elif self._killed_at is None and monotonic() - self._closed_at > _STUCK_SECONDS:
            self._kill()
        elif self._killed_at is not None and monotonic() - self._killed_at > _STUCK_SECONDS:
            text = f"the reader (process {self._pid}) hangs in the kernel and cannot be ended; no other is started"
            self._stand("unresponsive", text)

    def _bury(self, status: int) -> None:
        if os.WIFSIGNALED(status) and self._killed_at is None:
            text = f"the reader was ended by {signal.Signals(os.WTERMSIG(status)).name}"
            self._events.append(Event(at=wall(), kind="reader_crashed", message=text))
            self._stand("failed", text, kind=None)
        elif self._driver is None and self._paused is None:
            self._stand("failed", "the reader ended without a word")
        if monotonic() - self._started > self._patience.restart_most:
            self._delay = 0.0
        absent = self._driver is not None and self._driver.state == "absent"
        first = self._patience.restart_absent if absent else self._patience.restart
        self._delay = min(max(2 * self._delay, first), self._patience.restart_most)
        self._restart_at = monotonic() + self._delay
        self._pid = 0

    def _close_pipe(self) -> None:
        if self.fd is not None:
            os.close(self.fd)
            self.fd, self._closed_at = None, monotonic()

    def _stand(self, state: DriverState, detail: str, since: int | None = None, kind: str | None = "driver_") -> None:
        """Note how the driver answers; a change is an event, save for how it is when it is first looked at."""
        before, detail = self._driver, detail[:256]
        same = before is not None and before.state == state
        self._driver = Driver(state=state, since=before.since if before and same else since or wall(), detail=detail)
        no_news = ("ok", "absent") if before is None else ("ok",) if before.state == "paused" else ()
        if same or kind is None or state in no_news:
            return
        if state == "ok" and before is not None:
            seconds = (wall() - before.since) / 1e6
            detail = f"the driver answers again after {seconds:.0f} s ({before.state})"
        name = "driver_recovered" if state == "ok" else kind + state
        self._events.append(Event(at=wall(), kind=name, message=detail))


def _fork_reader(
    backend: Backend, known: list[Gpu], interval: float, attribute: Attribute | None, lock: int
) -> tuple[int, int]:
    """Start a reader. Its process id, and the end of the pipe that its frames come from."""
    read_fd, write_fd = os.pipe()
    parent = os.getpid()
    try:
        pid = os.fork()
    except OSError:
        os.close(read_fd)
        os.close(write_fd)
        raise
    if pid:
        os.close(write_fd)
        return pid, read_fd
    code = _EXIT_FAILED
    try:
        settle(parent, write_fd, lock)
        code = _read_driver(backend, known, interval, write_fd, attribute)
    finally:
        # Nothing of the parent's may run here: no exit handlers, no flushing of its buffers.
        os._exit(code)


def _read_driver(backend: Backend, known: list[Gpu], interval: float, fd: int, attribute: Attribute | None) -> int:
    """Open the driver and read it until that ends; the exit code says how. `interval` in seconds."""
    try:
        session = backend.open(known)
        try:
            Reader(session, interval, fd, attribute).run()
        finally:
            session.close()
    except DriverAbsent as error:
        send(fd, Fault("absent", str(error)))
        return _EXIT_ABSENT
    except DriverGone as error:
        send(fd, Fault("failed", str(error)))
    except BrokenPipeError:
        return 0
    except Exception as error:  # noqa: BLE001 - whatever a backend raises must reach the parent as a fault
        send(fd, Fault("failed", f"the reader failed: {type(error).__name__}: {error}"))
    return _EXIT_FAILED
