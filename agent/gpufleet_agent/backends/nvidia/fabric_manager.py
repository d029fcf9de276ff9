"""NVIDIA's Fabric Manager: without it GPUs behind NVSwitches run no CUDA, and its version has to be the driver's."""

from __future__ import annotations

import os
import re
import select
import signal
import time
from pathlib import Path
from typing import Literal

from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.catalogue import Reason

_PROGRAM = "usr/bin/nv-fabricmanager"
_UNIT = "system.slice/nvidia-fabricmanager.service/cgroup.procs"
_GROUPS = (f"sys/fs/cgroup/{_UNIT}", f"sys/fs/cgroup/systemd/{_UNIT}")
_PID_FILE = "run/nvidia-fabricmanager/nv-fabricmanager.pid"
# As much of a program's name as the kernel keeps.
_NAME = "nv-fabricmanager"[:15]
_PATIENCE = 5.0
_VERSION = re.compile(rb"\d{3,}\.\d+(?:\.\d+)?")


class FabricManager:
    """The service on this host, looked for in files and asked for its version: never through systemd or its socket."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._root = root
        self._program = root / _PROGRAM
        self._asked: tuple[int, int] | None = None
        self._version: str | None = None

    def state(self) -> Literal["running", "stopped"]:
        """`running` or `stopped`. Reading where it is not installed here, as far as this process can see."""
        if any(self._holds_processes(path) for path in _GROUPS) or self._is_alive():
            return "running"
        if not self._program.exists():
            raise Reading(Reason.UNSUPPORTED)
        return "stopped"

    def version(self) -> str:
        """The version of the installed program, which only tells it when run. Reading where there is none."""
        try:
            status = self._program.stat()
        except OSError:
            raise Reading(Reason.UNSUPPORTED) from None
        known = (status.st_mtime_ns, status.st_size)
        if known != self._asked:
            self._asked, self._version = known, _ask(self._program)
        if self._version is None:
            raise Reading(Reason.FAILED)
        return self._version

    def _holds_processes(self, path: str) -> bool:
        try:
            return bool((self._root / path).read_text().strip())
        except OSError:
            return False

    def _is_alive(self) -> bool:
        try:
            pid = int((self._root / _PID_FILE).read_text())
            return (self._root / f"proc/{pid}/comm").read_text().strip() == _NAME
        except (OSError, ValueError):
            return False


def _ask(program: Path) -> str | None:
    """What the program prints as its version, within a time."""
    read_fd, write_fd = os.pipe()
    try:
        actions = [(os.POSIX_SPAWN_DUP2, write_fd, 1), (os.POSIX_SPAWN_DUP2, write_fd, 2)]
        pid = os.posix_spawn(program, [str(program), "--version"], {}, file_actions=actions)
    except OSError:
        os.close(read_fd)
        return None
    finally:
        os.close(write_fd)
    try:
        found = _VERSION.search(_read_all(read_fd, time.monotonic() + _PATIENCE))
    finally:
        os.close(read_fd)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    return found[0].decode() if found else None


def _read_all(fd: int, end: float) -> bytes:
    said = b""
    while len(said) < 1 << 16 and select.select([fd], [], [], max(0.0, end - time.monotonic()))[0]:
        data = os.read(fd, 4096)
        if not data:
            break
        said += data
    return said
