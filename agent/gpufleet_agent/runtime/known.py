"""The GPUs that were told last, kept over a restart: one that is not found again is lost, not forgotten."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from gpufleet_agent.runtime.files import write_whole
from gpufleet_agent.wire import Gpu

_FILE = "gpus.json"


class KnownGpus:
    """A file in the state folder. Where the disk refuses they are known until the agent ends, and that is all."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / _FILE
        self._gpus: list[Gpu] = []
        with contextlib.suppress(OSError, ValueError):  # none yet, or of another version
            self._gpus = msgspec.json.decode(self._path.read_bytes(), type=list[Gpu])

    @property
    def gpus(self) -> list[Gpu]:
        """As they were told last."""
        return self._gpus

    def note(self, gpus: list[Gpu]) -> None:
        """These are told now."""
        if gpus != self._gpus:
            self._gpus = gpus
            with contextlib.suppress(OSError):
                write_whole(self._path, msgspec.json.encode(gpus))
