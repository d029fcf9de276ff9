"""The open report's records on disk: appended at once, so that a killed agent loses nothing it has read."""

from __future__ import annotations

import os
from pathlib import Path

from gpufleet_agent.runtime.frames import Begun, Record, encode


class Journal:
    """One file. It is not synced: it has to survive the death of the agent, not that of the machine."""

    def __init__(self, path: Path, begun: Begun) -> None:
        """Begin the file. OSError where the disk refuses."""
        self.path = path
        self._fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._size = 0
        try:
            self.append(begun)
        except OSError:
            self.discard()
            raise

    def append(self, record: Record) -> None:
        """Add a record in one write. OSError where it did not fit; the file then ends with the record before."""
        data = encode(record)
        written = os.write(self._fd, data)
        if written != len(data):
            os.ftruncate(self._fd, self._size)
            raise OSError(f"{self.path}: only {written} of {len(data)} bytes could be written")
        self._size += written

    def close(self) -> None:
        """Let go of the file and leave it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def discard(self) -> None:
        """Let go of the file and remove it."""
        self.close()
        remove(self.path)


def remove(path: Path) -> None:
    """Remove a file where that can be done; what stays is told apart by its number."""
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return
