"""XIDs from the driver and from the kernel log, as one: each told once, by whichever source has it first."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from gpufleet_agent.runtime.frames import Frame, Happened
from gpufleet_agent.runtime.kernel_log import KernelLog
from gpufleet_agent.runtime.pairing import Pairing
from gpufleet_agent.wire import Event, Host, Roster

_LOG = logging.getLogger("gpufleet_agent")
KERNEL_LOG = "dev/kmsg"


class FaultSources:
    """The kernel log below `root`, if it `is_wanted`, beside what the reader tells.

    `told` are the newest events of this boot that an earlier run has told; `tells_processes`: whether a process that
    the log names is told too.
    """

    def __init__(
        self, is_wanted: bool, root: Path, state: Path, told: Sequence[Event] = (), tells_processes: bool = True
    ) -> None:
        self._pairing = Pairing(told)
        self._log = KernelLog(root / KERNEL_LOG, state, told, tells_processes) if is_wanted else None
        # Until it is known which GPUs there are, what the log names cannot be told.
        self._roster: Roster | None = None
        if self._log is not None and self._log.trouble is not None:
            text = "the kernel log cannot be read (%s): XIDs come from the driver alone, and SXIDs not at all"
            _LOG.info(text, self._log.trouble.word)

    @property
    def readers(self) -> list[int]:
        """What becomes readable when there is something to `look` at."""
        return self._log.readers if self._log is not None and self._roster is not None else []

    @property
    def due(self) -> float:
        """When a look is wanted at the latest (monotonic seconds)."""
        return self._log.due if self._log is not None and self._roster is not None else float("inf")

    def paired(self, frames: Sequence[Frame]) -> list[Frame]:
        """What the reader told, with a confirmation in the place of each XID that the kernel log had first."""
        return [
            Happened(self._pairing.take(frame.events)) if isinstance(frame, Happened) else frame for frame in frames
        ]

    def look(self, roster: Roster | None) -> list[Event]:
        """What the kernel log has come to tell since the look before."""
        if self._log is None or roster is None:
            return []
        if roster is not self._roster:
            self._roster = roster
            self._log.meet(roster.gpus)
        return self._pairing.take(self._log.look())

    def remember(self) -> None:
        """What `look` gave cannot be lost any more: another run need not tell it."""
        if self._log is not None:
            self._log.remember()

    def described(self, host: Host) -> Host:
        """The host with what is to be said of its kernel log."""
        if self._log is None:
            return replace(host, kernel_log="off")
        if self._log.trouble is None:
            return replace(host, kernel_log="read")
        return replace(host, absent={**host.absent, "kernel_log": self._log.trouble.word})

    def close(self) -> None:
        """Let go of the log."""
        if self._log is not None:
            self._log.close()
