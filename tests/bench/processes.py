"""CPU time and memory of a process with all its descendants, read from /proc."""

import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


def tree(root: int) -> list[int]:
    """A process and its descendants that live now."""
    parents = dict(_parents())
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


def _parents() -> Iterator[tuple[int, int]]:
    for status in PROC.glob("[0-9]*/stat"):
        try:
            fields = status.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        yield int(status.parent.name), int(fields[1])


def cpu_seconds(pids: list[int]) -> float:
    """Time on a CPU of all threads, from the scheduler's nanoseconds (utime is too coarse here)."""
    return sum(int(task.read_text().split()[0]) for pid in pids for task in PROC.glob(f"{pid}/task/*/schedstat")) / 1e9


def cpu_seconds_ever(pids: list[int]) -> float:
    """User and system time of each process, and of the children that it has waited for; 10 ms is the finest step."""
    return sum(sum(map(int, stat(pid)[11:15])) for pid in pids) / _TICKS


def stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, the state first; none where the process is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    return []


def disk_bytes(folder: Path) -> int:
    """The bytes of all files below a folder, a file with two names counted once."""
    seen: dict[int, int] = {}
    for path in folder.rglob("*"):
        with suppress(FileNotFoundError):
            found = path.lstat()
            seen |= {found.st_ino: found.st_size} if path.is_file() else {}
    return sum(seen.values())


class Peak:
    """The highest memory seen while the block runs, MB: `look` is asked again and again by a thread."""

    def __init__(self, look: Callable[[], float], every: float = 1.0) -> None:
        self._look, self._every = look, every
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.mb = 0.0

    def __enter__(self) -> "Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()
        self._note()

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            self._note()

    def _note(self) -> None:
        self.mb = max(self.mb, self._look())


def pss_mb(pids: list[int]) -> float:
    """Proportional set size, MB (10^6 bytes): shared pages counted by share."""
    return sum(_rollup(pid, "Pss") for pid in pids) * 1024 / 1e6


def rss_mb(pids: list[int]) -> float:
    """Resident set size, MB: shared pages counted in each process."""
    return sum(_rollup(pid, "Rss") for pid in pids) * 1024 / 1e6


def _rollup(pid: int, field: str) -> int:
    try:
        told = (PROC / str(pid) / "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        # It has ended meanwhile, as a database's processes do.
        return 0
    found = re.search(rf"^{field}:\s+(\d+) kB", told, re.MULTILINE)
    assert found is not None, f"smaps_rollup of {pid} has no {field}"
    return int(found[1])


@dataclass(frozen=True)
class Usage:
    """What a process tree used in a window: CPU ms per second of wall time, and memory at its end."""

    cpu_ms_per_s: float
    pss_mb: float
    rss_mb: float


@contextmanager
def running(
    command: list[str], env: dict[str, str], log: Path, how: signal.Signals = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs while the block does and is ended with `how`; its output goes to `log`."""
    with log.open("ab") as out, subprocess.Popen(command, env=env, stdout=out, stderr=out) as process:
        try:
            yield process
        finally:
            process.send_signal(how)
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
