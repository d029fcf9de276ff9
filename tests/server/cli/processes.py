"""The program as real processes: with its output in a pipe or on a terminal of some width."""

import asyncio
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from gpufleet_server.cli import app
from gpufleet_server.simulate.fleet import Fleet
from typer.testing import CliRunner, Result

PROGRAM = str(Path(sys.executable).with_name("gpufleet"))
Env = dict[str, str]


def run(*arguments: str, env: Env, status: int = 0) -> subprocess.CompletedProcess[str]:
    """Run the program with pipes; it ends with this status and never with a traceback."""
    done = subprocess.run([PROGRAM, *arguments], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def call(*arguments: str, env: Env, status: int = 0) -> Result:
    """The same within this process, which is quicker."""
    result = CliRunner().invoke(app, arguments, env=env)
    assert result.exit_code == status, (result.output, result.exception)
    return result


def environment(folder: Path, **more: str) -> Env:
    """An environment whose XDG folders lie in this one, in UTC and without settings for colour."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL") if name in os.environ}
    xdg = {f"XDG_{name}_HOME": str(folder / name.lower()) for name in ("DATA", "STATE", "CONFIG", "CACHE")}
    return kept | xdg | {"HOME": str(folder), "TZ": "UTC", "TERM": "xterm-256color"} | more


@dataclass
class Terminal:
    """A program on a terminal."""

    process: subprocess.Popen[bytes]
    screen: int
    said: bytes = b""
    status: int = field(default=-1)

    def read_until(self, done: Callable[[str], bool], seconds: float = 60) -> str:
        """What it has printed, once that is so. AssertionError where it does not come in time."""
        deadline = time.monotonic() + seconds
        os.set_blocking(self.screen, False)
        while not done(self.said.decode(errors="replace")):
            assert time.monotonic() < deadline, self.said.decode(errors="replace")
            if not self._read():
                time.sleep(0.02)
        return self.said.decode()

    def press(self, keys: bytes) -> None:
        """Type something."""
        os.write(self.screen, keys)

    def wait(self, seconds: float = 60) -> int:
        """The status with which it ends; what it prints meanwhile is read."""
        self.read_until(lambda _: self.process.poll() is not None, seconds)
        while self._read():
            pass
        return self.process.wait()

    def _read(self) -> bool:
        try:
            more = os.read(self.screen, 65536)
        except (BlockingIOError, OSError):
            return False
        self.said += more
        return bool(more)


@contextmanager
def terminal(*arguments: str, env: Env, width: int = 80, height: int = 24) -> Iterator[Terminal]:
    """The program on a terminal of this size."""
    screen, end = pty.openpty()
    fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
    # setsid makes the terminal the one whose Ctrl-C the program gets; who runs the tests may ignore it. Both become
    # the program.
    command = ["setsid", "--ctty", "env", "--default-signal=INT", PROGRAM, *arguments]
    with subprocess.Popen(command, env=env, stdin=end, stdout=end, stderr=end) as process:
        os.close(end)
        try:
            yield Terminal(process, screen)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGKILL)
    os.close(screen)


@contextmanager
def reporting(it: Fleet) -> Iterator[None]:
    """The fleet reports, in a thread, while the block runs."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(it.run())

    def work() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(asyncio.wait([task]))

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        loop.call_soon_threadsafe(task.cancel)
        thread.join(60)


def children(pid: int) -> Sequence[int]:
    """The processes that a process has started and that still run."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(child) for child in listed]
