"""The GPUs of a session: who is there, who is lost, who came back."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import msgspec

from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.backends.nvidia.device import Device
from gpufleet_agent.backends.nvidia.facts import text
from gpufleet_agent.backends.nvidia.identity import is_placeholder, placeholder
from gpufleet_agent.backends.nvidia.library import GpuLost, Handle, ask
from gpufleet_agent.catalogue import Reason
from gpufleet_agent.wire import Event, Gpu

_T = TypeVar("_T")
_LOST = "The GPU does not answer any more: it has fallen off the bus or was taken out of service."
_RETURNED = "The GPU answers again."


class Devices:
    """All GPUs that the driver counts or has counted in this session, in the order in which they were first seen.

    `driver` is the major number of the driver's version, `probe_every` (s) how often lost GPUs are looked for;
    `news` is what happened to them, until somebody takes it.
    """

    def __init__(self, probe_every: float) -> None:
        self.driver = 0
        self.news: list[Event] = []
        self._probe_every = probe_every
        self._by_uuid: dict[str, Device] = {}
        # Boards in whose places others sit; an event of theirs may still come.
        self._replaced: dict[str, Gpu] = {}
        self._count, self._counted_at = 0, 0.0

    def __iter__(self) -> Iterator[Device]:
        return iter(tuple(self._by_uuid.values()))

    def identity(self, uuid: str) -> Gpu:
        """What is known of one of them."""
        device = self._by_uuid.get(uuid)
        return self._replaced[uuid] if device is None else device.identity

    def guarded(self, device: Device, read: Callable[[], _T]) -> _T | None:
        """What `read` gives; None where it finds the GPU lost, which is then news."""
        try:
            return read()
        except GpuLost:
            self._lose(device)
            return None

    def look_around(self) -> None:
        """Count anew where the number of GPUs changed, and once in a while where one is lost."""
        overdue = time.monotonic() - self._counted_at >= self._probe_every
        if (overdue and any(device.is_lost for device in self)) or _count() not in (self._count, None):
            self.count()

    def find_lost(self) -> None:
        """Ask each of them for a sign of life."""
        for device in self:
            self.guarded(device, device.refresh)

    def count(self) -> None:
        """Meet all that the driver counts; those known and not met are lost."""
        self._counted_at, count = time.monotonic(), _count()
        if count is None:
            return
        self._count = count
        met: set[str] = set()
        nameless: dict[int, Reason] = {}
        for index in range(self._count):
            try:
                handle = ask("nvmlDeviceGetHandleByIndex", index)
                met.add(self._meet(handle, index))
            except GpuLost:
                nameless[index] = Reason.LOST
            except Reading as failed:
                nameless[index] = failed.reason
        for device in self:
            if device.identity.uuid not in met and not device.is_lost:
                self._lose(device)
        self._forget_replaced()
        self._place(nameless)

    def recall(self, known: Sequence[Gpu]) -> None:
        """Compare with the GPUs that a session before this one told: those that are not there are lost."""
        for gpu in known:
            device = self._by_uuid.get(gpu.uuid)
            if device is None and not is_placeholder(gpu.uuid):
                lost = Device(msgspec.structs.replace(gpu, state="lost"), None, self.driver)
                self._by_uuid[gpu.uuid] = lost
                if gpu.state == "ok":
                    self._tell("gpu_lost", lost, _LOST)
            elif device is not None and gpu.state == "lost" and not device.is_lost:
                self._tell("gpu_returned", device, _RETURNED)
        if known:
            # A place without a name may be one of theirs now, and one of theirs another's.
            self.count()

    def close(self) -> None:
        """Let go of all of them."""
        for device in self:
            device.close()
        self._by_uuid = {}

    def _meet(self, handle: Handle, index: int) -> str:
        uuid = _uuid(handle, index)
        known = self._by_uuid.get(uuid)
        if known is None or known.is_lost:
            self._welcome(uuid, known, Device.behind(handle, index, self.driver))
        elif known.identity.index != index:
            known.move(index)
        return uuid

    def _welcome(self, uuid: str, known: Device | None, device: Device) -> None:
        if known is not None and device.is_lost:
            return
        was_nameless = placeholder(device.identity.index) in self._by_uuid
        self._by_uuid[uuid] = device
        # One that was never here before is seen in the roster; that it came is no news of the driver's.
        if known is not None or was_nameless:
            self._tell("gpu_returned", device, _RETURNED)

    def _forget_replaced(self) -> None:
        """A lost board in whose place another one answers is not lost: it was taken out."""
        taken = {device.identity.pci_address for device in self if not device.is_lost} - {None}
        for gpu in [device.identity for device in self if device.is_lost]:
            if gpu.pci_address in taken:
                self._replaced[gpu.uuid] = gpu
                del self._by_uuid[gpu.uuid]

    def _place(self, nameless: dict[int, Reason]) -> None:
        """Keep a place for GPUs that are counted but cannot be told from others, unless they were met before."""
        explained = {gpu.index for gpu in self._lost_by_name()}
        wanted = {placeholder(index): index for index in nameless if index not in explained}
        for uuid in [uuid for uuid in self._by_uuid if is_placeholder(uuid) and uuid not in wanted]:
            del self._by_uuid[uuid]
        for uuid, index in wanted.items():
            if uuid not in self._by_uuid:
                self._by_uuid[uuid] = Device.hidden(index, self.driver, nameless[index])

    def _lost_by_name(self) -> Iterator[Gpu]:
        return (device.identity for device in self if device.is_lost and not is_placeholder(device.identity.uuid))

    def _lose(self, device: Device) -> None:
        device.lose()
        self._tell("gpu_lost", device, _LOST)

    def _tell(self, kind: str, device: Device, message: str) -> None:
        gpu = device.identity
        detail: dict[str, int | float | bool | str | None] = {"index": gpu.index}
        if gpu.pci_address is not None:
            detail["pci_address"] = gpu.pci_address
        now = time.time_ns() // 1000
        self.news.append(Event(at=now, kind=kind, gpu=gpu.uuid, source="nvml", message=message, detail=detail))


def _count() -> int | None:
    """How many GPUs the driver shows; None where it does not say."""
    try:
        return int(ask("nvmlDeviceGetCount"))
    except Reading:
        return None


def _uuid(handle: Handle, index: int) -> str:
    try:
        return text(ask("nvmlDeviceGetUUID", handle))
    except Reading:
        return placeholder(index)
