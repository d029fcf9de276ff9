"""Where reports go when there is no server to push them to: nowhere."""

from __future__ import annotations

import uuid

from gpufleet_agent.runtime.frames import Begun, Record
from gpufleet_agent.wire import Backlog


class Unspooled:
    """A keeper that keeps nothing."""

    def __init__(self) -> None:
        self._stream, self._seq = str(uuid.uuid4()), 0
        self.backlog = Backlog()

    def take_number(self) -> tuple[str, int]:
        """Stream and number for the next report."""
        self._seq += 1
        return self._stream, self._seq

    def begin(self, begun: Begun) -> None:
        """Nothing to do."""

    def append(self, record: Record) -> None:
        """Nothing to do."""

    def close(self, seq: int, body: bytes) -> None:
        """Nothing to do."""
