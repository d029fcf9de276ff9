"""The numbers of reports: a stream's name and a sequence in it that never repeats, crashes included."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Annotated

import msgspec

from gpufleet_agent.runtime.clock import kernels_boot_id
from gpufleet_agent.runtime.files import write_whole
from gpufleet_agent.wire.report import NodeId

_BLOCK = 256


class _Stored(msgspec.Struct):
    stream: NodeId
    reserved: Annotated[int, msgspec.Meta(ge=0, lt=1 << 61)]
    boot: str = ""


class Sequence:
    """Numbers are reserved on disk in blocks before they are used. Where the disk refuses, a new stream begins.

    `is_new_boot`: the numbers before were given out before the machine was booted.
    """

    def __init__(self, path: Path, floor: int = 0) -> None:
        """`floor`: the highest number that is known to be in use."""
        self._path = path
        stored, self._boot = _load(path), kernels_boot_id() or ""
        self.is_new_boot = stored is not None and stored.boot not in ("", self._boot) and self._boot != ""
        self.stream = stored.stream if stored else str(uuid.uuid4())
        self._last = max(floor, stored.reserved if stored else 0)
        self._reserved = self._last

    def take(self) -> tuple[str, int]:
        """The next (stream, number)."""
        if self._last >= self._reserved:
            self._reserve()
        self._last += 1
        return self.stream, self._last

    def _reserve(self) -> None:
        self._reserved = self._last + _BLOCK
        try:
            write_whole(self._path, msgspec.json.encode(_Stored(self.stream, self._reserved, self._boot)))
        except OSError:
            # What is not written down may be given out again after a restart, so it must not be under this name.
            self.stream = str(uuid.uuid4())


def _load(path: Path) -> _Stored | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Stored)
    except (OSError, ValueError):
        return None
