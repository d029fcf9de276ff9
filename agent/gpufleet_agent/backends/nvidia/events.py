"""XIDs and other critical events, from one NVML event set for all GPUs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from ctypes import byref, c_void_p, cast

from gpufleet_agent.backends.backend import DriverGone, Reading
from gpufleet_agent.backends.nvidia.library import TIMEOUT, GpuLost, Handle, ask, failure, function
from gpufleet_agent.backends.nvidia.structs import EventData
from gpufleet_agent.wire import Event, Gpu

XID = 0x8
# NVML's event bits that are worth a row each. ECC counts, clocks and power states are metrics, not events.
_KINDS = {
    XID: "xid",
    0x100: "mig_config_change",
    0x200: "ecc_single_bit_storm",
    0x400: "dram_retirement",
    0x800: "dram_retirement_failure",
    0x1000: "poison_nonfatal",
    0x2000: "poison_fatal",
    0x4000: "gpu_unavailable",
    0x8000: "gpu_recovery_action",
}
_WANTED = sum(_KINDS)
_ANY_INSTANCE = 0xFFFFFFFF
_CODE_LIMIT, _DETAIL_LIMIT = 1 << 31, 1 << 63
# More than this at once is a flood; the rest comes with the next wait.
_MOST_AT_ONCE = 1000


class EventWatch:
    """Waits for events of some GPUs. `identify` gives the identity that a GPU has now.

    `xid_gpus` are those of them (UUIDs) that tell their XIDs.
    """

    def __init__(self, identify: Callable[[str], Gpu]) -> None:
        self._identify = identify
        self._set: c_void_p | None = None
        self._uuids: dict[int, str] = {}
        self.xid_gpus: list[str] = []
        self._data = EventData()
        self._wait: Callable[..., int] = _nothing

    def register(self, gpus: Iterable[tuple[str, Handle]]) -> None:
        """Watch these GPUs and no others. What happened before is not told."""
        self.close()
        try:
            self._wait, self._set = function("nvmlEventSetWait_v2"), ask("nvmlEventSetCreate")
        except Reading:
            return
        for uuid, handle in gpus:
            types = self._register_one(handle)
            if types:
                self._uuids[_address(handle)] = uuid
            if types & XID:
                self.xid_gpus.append(uuid)

    def wait(self, seconds: float) -> list[Event]:
        """Sleep until the first event or for `seconds`; all events that are there by then."""
        if not self._uuids:
            time.sleep(seconds)
            return []
        events: list[Event] = []
        # Rounded up, or the last fraction of a millisecond would be spent spinning.
        timeout = -int(-seconds * 1000 // 1)
        while len(events) < _MOST_AT_ONCE:
            try:
                if not self._next(timeout):
                    break
            except (Reading, GpuLost, DriverGone):
                if not events:
                    raise
                # What came before is not to be lost; the next wait meets the error again.
                break
            events.extend(self._event())
            timeout = 0
        return events

    def close(self) -> None:
        """Let go of the event set; one of a driver that is gone is gone with it."""
        if self._set is not None:
            function("nvmlEventSetFree")(self._set)
        self._set, self._uuids, self.xid_gpus = None, {}, []

    def _register_one(self, handle: Handle) -> int:
        """The event types that are watched from now on."""
        try:
            types: int = ask("nvmlDeviceGetSupportedEventTypes", handle) & _WANTED
            if types:
                ask("nvmlDeviceRegisterEvents", handle, types, self._set)
        except (Reading, GpuLost):
            return 0
        return types

    def _next(self, timeout: int) -> bool:
        code = self._wait(self._set, byref(self._data), timeout)
        if code and code != TIMEOUT:
            raise failure(code)
        return not code

    def _event(self) -> Iterator[Event]:
        data = self._data
        kind, uuid = _KINDS.get(data.type), self._uuids.get(data.device or 0)
        if kind is None or uuid is None:
            return
        yield Event(
            at=time.time_ns() // 1000,
            kind=kind,
            gpu=uuid,
            partition=partition_of(self._identify(uuid), data.gpu_instance, data.compute_instance),
            code=data.data if kind == "xid" and data.data < _CODE_LIMIT else None,
            source="nvml",
            detail={} if kind == "xid" else {"data": data.data % _DETAIL_LIMIT},
        )


def partition_of(gpu: Gpu, gpu_instance: int, compute_instance: int) -> str | None:
    """The UUID of the partition with these ids, or a name made of them; None for the GPU as a whole."""
    if gpu_instance == _ANY_INSTANCE or gpu.mig_mode != "enabled":
        return None
    for partition in gpu.partitions:
        is_compute = compute_instance in (partition.compute_instance, _ANY_INSTANCE)
        if partition.gpu_instance == gpu_instance and is_compute:
            return partition.uuid
    return f"MIG-{gpu.uuid}/{gpu_instance}/{compute_instance}"


def _nothing(*arguments: object) -> int:
    return TIMEOUT


def _address(handle: Handle) -> int:
    """Handles compare unequal although they are the same GPU; their addresses do not."""
    return cast(handle, c_void_p).value or 0
