"""Held by the reader for as long as it lives, whichever agent started it: the next agent waits for one that hangs."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_FILE = "reader.lock"


class ReaderLock:
    """A file in the state folder. Where there can be none there is nothing to hold, and every reader may start."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE

    def take(self) -> int | None:
        """A descriptor that holds it, in whichever process has it open; -1 where there is no file. None: it is held."""
        try:
            fd = os.open(self._path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            return -1
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return None
        return fd


def release(lock: int) -> None:
    """Let go of what `take` gave, in this process."""
    if lock >= 0:
        os.close(lock)
