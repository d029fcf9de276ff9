"""The open report's records on disk: appended at once, so that a killed agent loses nothing it has read."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

from gpufleet_agent.runtime.files import remove
from gpufleet_agent.runtime.frames import HEADER, MAX_FRAME, Begun, Record, decode_record, encode

_CHECKSUM = 4


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
        data += _checksum(data)
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


def read_records(data: bytes) -> list[Record]:
    """The records of a journal, up to the first that is not as it was written: the machine lost power there."""
    records: list[Record] = []
    start = 0
    while 0 < (size := int.from_bytes(data[start : start + HEADER], "little")) <= MAX_FRAME:
        end = start + HEADER + size
        if data[end : end + _CHECKSUM] != _checksum(data[start:end]):
            break
        try:
            records.append(decode_record(data[start + HEADER : end]))
        except ValueError:
            break
        start = end + _CHECKSUM
    return records


def _checksum(data: bytes) -> bytes:
    """After a power cut any page of a file that was not synced may be all zeros, with whole ones behind it."""
    return zlib.crc32(data).to_bytes(_CHECKSUM, "little")
