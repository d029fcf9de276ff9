"""What /proc tells of a process, and why it does not."""

from __future__ import annotations

import os
import re
import shlex
import time
from pathlib import Path

from gpufleet_agent.usage.patient import Patient, Unanswered

ENDED = "the process has ended"
HIDDEN = "/proc hides this process from the agent's user (hidepid)"
NO_PERMISSION = "no permission"
STUCK = "the kernel has not given it yet: the process, or another one, is stuck"
# The kernel's own name for the first PID namespace, PROC_PID_INIT_INO.
_FIRST_NAMESPACE = "pid:[4026531836]"
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_UID = re.compile(rb"^Uid:\s+([0-9]{1,10})\s", re.MULTILINE)
_LONGEST = 1024
_CHUNK = 1 << 16


class Unseen(Exception):
    """Something of a process that cannot be seen; the text says why."""


class ProcFiles:
    """Reads /proc below a root folder. Every method raises Unseen."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._folder = root / "proc"
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._patient = Patient()

    def is_namespaced(self) -> bool:
        """Whether this agent is in a PID namespace of its own, where the driver's process ids name others."""
        try:
            return str((self._folder / "self/ns/pid").readlink()) != _FIRST_NAMESPACE
        except OSError:
            return False

    def stat(self, pid: int) -> tuple[str, int]:
        """The program's name, and when the process started in clock ticks since boot."""
        text = self._read(pid, "stat").decode(errors="replace")
        name, _, rest = text.partition("(")[2].rpartition(")")
        numbers = rest.split()
        if len(numbers) < 20 or not (numbers[19].isascii() and numbers[19].isdecimal()):
            raise Unseen(ENDED)
        return _CONTROLS.sub("?", name), int(numbers[19])

    def started(self, ticks: int) -> int:
        """Such a start as µs since the epoch, to the tick."""
        ago = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / self._ticks
        return int((time.time() - ago) * 1e6)

    def uid(self, pid: int) -> int:
        """The real user id. The owner of the folder is another's where a process has shut itself off."""
        found = _UID.search(self._read(pid, "status"))
        if found is None:
            raise Unseen(ENDED)
        return int(found[1])

    def cgroups(self, pid: int) -> str:
        """The text of its cgroup file. Users can put any byte but a line break into a group's name."""
        lines = self._read(pid, "cgroup").decode(errors="replace").split("\n")
        return "\n".join(_CONTROLS.sub("?", line) for line in lines)

    def command_line(self, pid: int) -> str:
        """Its arguments as a shell would take them, cut at 1024 characters."""
        words = self._read_memory(pid, "cmdline").rstrip(b"\0").split(b"\0")
        return _CONTROLS.sub("?", shlex.join(word.decode(errors="replace") for word in words))[:_LONGEST]

    def environment(self, pid: int, names: frozenset[str]) -> dict[str, str]:
        """Those of these variables that it was started with; nothing else of it is kept."""
        pairs = (
            entry.decode(errors="replace").partition("=") for entry in self._read_memory(pid, "environ").split(b"\0")
        )
        return {name: _CONTROLS.sub("?", value)[:256] for name, _, value in pairs if name in names}

    def _read_memory(self, pid: int, name: str) -> bytes:
        """A file that is a part of the process's memory: one that is stuck while it changes that lets nobody read it.

        That would look like a driver that hangs, since the driver is read by the same process.
        """
        try:
            return self._read(pid, name, self._patient)
        except Unanswered:
            raise Unseen(STUCK) from None

    def _read(self, pid: int, name: str, patient: Patient | None = None) -> bytes:
        path = f"{self._folder}/{pid}/{name}"
        try:
            return _contents(path) if patient is None else patient.ask(pid, lambda: _contents(path))
        except PermissionError:
            raise Unseen(NO_PERMISSION) from None
        except (FileNotFoundError, ProcessLookupError):
            raise Unseen(HIDDEN if _lives(pid) else ENDED) from None
        except OSError as error:
            raise Unseen(f"{name}: {error.strerror}") from None


def _contents(path: str) -> bytes:
    """A file as a whole. With pathlib it takes three times as long, for every process in every sample."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return b"".join(iter(lambda: os.read(fd, _CHUNK), b""))
    finally:
        os.close(fd)


def _lives(pid: int) -> bool:
    """Whether there is such a process; signal 0 is only a question."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
