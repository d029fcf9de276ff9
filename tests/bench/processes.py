"""CPU time and memory of a process with all its descendants, read from /proc."""

import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")


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


def pss_mb(pids: list[int]) -> float:
    """Proportional set size, MB (10^6 bytes): shared pages counted by share."""
    return sum(_rollup(pid, "Pss") for pid in pids) * 1024 / 1e6


def rss_mb(pids: list[int]) -> float:
    """Resident set size, MB: shared pages counted in each process."""
    return sum(_rollup(pid, "Rss") for pid in pids) * 1024 / 1e6


def _rollup(pid: int, field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB", (PROC / str(pid) / "smaps_rollup").read_text(), re.MULTILINE)
    assert found is not None, f"smaps_rollup of {pid} has no {field}"
    return int(found[1])


@dataclass(frozen=True)
class Usage:
    """What a process tree used in a window: CPU ms per second of wall time, and memory at its end."""

    cpu_ms_per_s: float
    pss_mb: float
    rss_mb: float


@contextmanager
def running(command: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program that runs while the block does; its output goes to `log`."""
    with log.open("ab") as out, subprocess.Popen(command, env=env, stdout=out, stderr=out) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(15)
            except subprocess.TimeoutExpired:
                process.kill()
