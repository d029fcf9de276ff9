"""The kernel's log (/dev/kmsg): a second source of XIDs, and the only one of SXIDs."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterable
from pathlib import Path

import msgspec

from gpufleet_agent.catalogue import Reason
from gpufleet_agent.runtime.clock import boot_id, monotonic, wall
from gpufleet_agent.runtime.files import write_whole
from gpufleet_agent.runtime.kernel_lines import (
    Address,
    Fault,
    Line,
    find_fault,
    read_address,
    read_line,
    without_process,
)
from gpufleet_agent.wire import Event, Gpu

_LOG = logging.getLogger("gpufleet_agent")

SOURCE = "kernel log"
# The kernel gives a record a read, none longer than this.
_RECORD = 8192
# A log that is written to all the time is looked at five times a second, and no more of it at once than this.
_REST_SECONDS = 0.2
_MOST_AT_ONCE = 1000


class _Kept(msgspec.Struct):
    """How far the log of a boot was told, and which GPUs (UUIDs) sat at which address."""

    boot: str
    number: int
    gpus: dict[str, str] = {}


class KernelLog:
    """Follows the log from where the agent before this one had come to; from now on if there was none.

    `trouble` says why the log is not read. What `look` gives is remembered by `remember`, which is to be called once
    it cannot be lost any more.
    """

    def __init__(self, path: Path, state: Path, told: Iterable[Event] = (), tells_processes: bool = True) -> None:
        """Open it. `told` are events of this boot that an earlier run has told, known to be kept.

        `tells_processes`: whether the process that the driver names in an XID is told.
        """
        self._tells_processes = tells_processes
        self._memory = state / "kernel-log.json"
        kept = _read_kept(self._memory)
        numbers = [number for event in told if isinstance(number := event.detail.get("record"), int)]
        if kept is not None and kept.boot == boot_id():
            numbers.append(kept.number)
        # An agent that comes to a node tells nothing of before its time; a new boot is of its time.
        self._is_first = kept is None
        self._number = max(numbers, default=-1)
        self._gpus = dict(kept.gpus) if kept else {}
        self._addresses: dict[Address, str] = {}
        self._note_addresses()
        self._is_behind = True
        self._is_changed = False
        self._missed = 0
        self._rest = b""
        self._look_at = 0.0
        self._fd = -1
        self.trouble: Reason | None = None
        self._open(path)

    @property
    def readers(self) -> list[int]:
        """What becomes readable when there is something to look at."""
        return [self._fd] if self._fd >= 0 and monotonic() >= self._look_at else []

    @property
    def due(self) -> float:
        """When the next look is allowed (monotonic seconds), if there is something to wait for."""
        return self._look_at if self._fd >= 0 and monotonic() < self._look_at else float("inf")

    def meet(self, gpus: Iterable[Gpu]) -> None:
        """Note where GPUs sit. One that has gone from the roster still has the address it had, until another has it."""
        there = sorted(gpus, key=lambda gpu: gpu.state == "ok")
        found = {gpu.pci_address: gpu.uuid for gpu in there if gpu.pci_address is not None}
        if any(self._gpus.get(address) != uuid for address, uuid in found.items()):
            self._gpus.update(found)
            self._note_addresses()
            self._is_changed = True

    def look(self) -> list[Event]:
        """What was logged since the look before. Never blocks."""
        if self._fd < 0 or monotonic() < self._look_at:
            return []
        events: list[Event] = []
        for _ in range(_MOST_AT_ONCE):
            data = self._read()
            if data is None:
                self._catch_up()
                break
            # After something came, and only then: a quiet log wakes nobody.
            self._look_at = monotonic() + _REST_SECONDS
            for line in self._lines(data):
                events += self._take(line)
        if self._missed:
            _LOG.warning("%d records of the kernel log were overwritten before they could be read", self._missed)
            self._missed = 0
        return events

    def remember(self) -> None:
        """Keep how far the log was told, if that changed."""
        if not self._is_changed:
            return
        self._is_changed = False
        kept = _Kept(boot_id(), self._number, self._gpus)
        # Where the state folder cannot be written the spool says so.
        with contextlib.suppress(OSError):
            write_whole(self._memory, msgspec.json.encode(kept))

    def close(self) -> None:
        """Let go of it."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _open(self, path: Path) -> None:
        try:
            self._fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except PermissionError:
            self.trouble = Reason.NO_PERMISSION
        except OSError:
            self.trouble = Reason.UNSUPPORTED

    def _note_addresses(self) -> None:
        found = {read_address(address): uuid for address, uuid in self._gpus.items()}
        self._addresses = {address: uuid for address, uuid in found.items() if address is not None}

    def _read(self) -> bytes | None:
        """The next record; None where there is none yet."""
        try:
            data = os.read(self._fd, _RECORD)
        except BlockingIOError:
            return None
        except BrokenPipeError:
            # What stood here was overwritten; the next read gives the oldest that is left.
            return b""
        except OSError as error:
            self._give_up(error.strerror or "", Reason.FAILED)
            return None
        if not data:
            # Some containers have something else in its place, which would be readable for ever.
            self._give_up("it has an end", Reason.UNSUPPORTED)
        return data or None

    def _give_up(self, why: str, reason: Reason) -> None:
        _LOG.warning("the kernel log cannot be read any more: %s", why)
        self.trouble = reason
        self.close()

    def _lines(self, data: bytes) -> list[Line]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        self._rest = self._rest[-_RECORD:]
        return [line for one in whole if (line := read_line(one)) is not None]

    def _take(self, line: Line) -> list[Event]:
        if 0 <= self._number < line.number - 1:
            self._missed += line.number - 1 - self._number
        if line.number <= self._number:
            return []
        self._number = line.number
        fault = find_fault(line.text)
        if fault is None or (self._is_first and self._is_behind):
            return []
        self._is_changed = True
        return [self._event(line, fault if self._tells_processes else without_process(fault))]

    def _event(self, line: Line, fault: Fault) -> Event:
        detail = {**fault.detail, "record": line.number}
        if not line.is_kernels:
            # Whoever tries out alerts writes into the log too; root may.
            detail["injected"] = True
        gpu = self._addresses.get(fault.address) if fault.kind == "xid" and fault.address else None
        return Event(
            at=self._time(line),
            kind=fault.kind,
            gpu=gpu,
            code=fault.code,
            source=SOURCE,
            message=fault.text[:2048],
            detail=detail,
        )

    def _time(self, line: Line) -> int:
        """When a record was written, µs since the epoch. The kernel's clock drifts: what comes now is of now."""
        if not self._is_behind:
            return wall()
        return wall() - max(0, time.monotonic_ns() // 1000 - line.at)

    def _catch_up(self) -> None:
        """All that was there has been read."""
        if self._is_behind:
            self._is_behind = False
            self._is_changed |= self._is_first


def _read_kept(path: Path) -> _Kept | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Kept)
    except (OSError, UnicodeDecodeError, msgspec.MsgspecError):
        return None
