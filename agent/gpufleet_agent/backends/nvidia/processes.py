"""Which processes hold a GPU or one of its partitions: their memory, and their share of the multiprocessors' time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from ctypes import byref, c_uint, c_ulonglong
from typing import Any

from gpufleet_agent.backends.backend import GpuProcess, ProcessList, Reading
from gpufleet_agent.backends.nvidia.library import INSUFFICIENT_SIZE, LASTING, NOT_FOUND, Handle, failure, function
from gpufleet_agent.backends.nvidia.mig import uuid
from gpufleet_agent.backends.nvidia.structs import Process, ProcessSample
from gpufleet_agent.catalogue import Reason

_LISTS = {
    "compute": "nvmlDeviceGetComputeRunningProcesses",
    "graphics": "nvmlDeviceGetGraphicsRunningProcesses",
    "mps": "nvmlDeviceGetMPSComputeRunningProcesses",
}
_VERSIONS = ("_v3", "_v2")
_NO_MEMORY = (1 << 64) - 1
# The driver samples processes at least this often, s; with no sample in less than that nothing is known.
_PERIOD = 1.0
_MOST = 1 << 16
_WHOLE = 100
# Process id → percent, None where the driver's number is implausible.
_Shares = dict[int, float | None]


class Buffer:
    """Room for what a function lists, made larger when that is not enough; all GPUs share one."""

    def __init__(self, kind: type[Any], room: int) -> None:
        self._kind, self.count = kind, c_uint()
        self.items: Any = (kind * room)()

    def fill(self, call: Any) -> int:
        """Call until everything fits; the code. `call` takes the array and the count."""
        while True:
            self.count.value = len(self.items)
            code = int(call(self.items, byref(self.count)))
            wanted = max(self.count.value, 2 * len(self.items))
            if code != INSUFFICIENT_SIZE or wanted > _MOST:
                return code
            self.items = (self._kind * wanted)()

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items[: self.count.value])


class ProcessLists:
    """The lists of one GPU, or one for each of its partitions."""

    def __init__(self, gpu: str, handle: Handle, instances: tuple[Handle, ...]) -> None:
        self._gpu = gpu
        self._places = [(uuid(instance), _Lists(instance)) for instance in instances] or [(None, _Lists(handle))]
        self._activity = _Activity(handle)

    def read(self) -> list[ProcessList]:
        """What there is now. GpuLost, DriverGone."""
        activity = self._activity.read()
        return [self._of(partition, lists, activity) for partition, lists in self._places]

    def _of(self, partition: str | None, lists: _Lists, activity: _Shares | Reason) -> ProcessList:
        found, reason = lists.read()
        processes = tuple(_process(pid, kinds, memory, activity) for pid, (kinds, memory) in found.items())
        return ProcessList(self._gpu, partition, processes, None if reason is None else reason.word)


class _Lists:
    """The lists of one handle by kind; what it does not support is asked for once."""

    _buffer = Buffer(Process, 128)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._calls: dict[str, Any] = {}
        self._reasons: dict[str, Reason] = {}
        for kind, name in _LISTS.items():
            try:
                self._calls[kind] = _newest(name)
            except Reading as failed:
                self._reasons[kind] = failed.reason

    def read(self) -> tuple[dict[int, tuple[tuple[str, ...], int]], Reason | None]:
        """Process id → kinds and bytes; and why the list of compute processes is not there, if it is not."""
        found: dict[int, tuple[tuple[str, ...], int]] = {}
        reasons = dict(self._reasons)
        for kind, call in tuple(self._calls.items()):
            try:
                self._read(kind, call, found)
            except Reading as failed:
                reasons[kind] = failed.reason
                if failed.reason in LASTING:
                    del self._calls[kind]
                    self._reasons[kind] = failed.reason
        return found, reasons.get("compute")

    def _read(self, kind: str, call: Any, found: dict[int, tuple[tuple[str, ...], int]]) -> None:
        code = self._buffer.fill(lambda items, count: call(self._handle, count, items))
        if code:
            raise failure(code)
        for process in self._buffer:
            # Those without an id are not one: each gets a number of its own below zero.
            pid = process.pid or -1 - len(found)
            kinds, memory = found.get(pid, ((), _NO_MEMORY))
            # The same memory may be listed under several kinds.
            known = process.used if memory == _NO_MEMORY else memory
            found[pid] = ((*kinds, kind), known)


class _Activity:
    """The share of the time in which each process's kernels ran, over the driver's samples since the last reading."""

    _buffer = Buffer(ProcessSample, 512)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._seen = time.time_ns() // 1000
        self._read_at = time.monotonic()
        self._lacking: Reason | None = None
        self._call: Any = None

    def read(self) -> _Shares | Reason:
        """The shares, without those that did nothing; or why they are not known."""
        if self._lacking is not None:
            return self._lacking
        try:
            return self._fetch()
        except Reading as failed:
            if failed.reason in LASTING:
                self._lacking = failed.reason
            return failed.reason

    def _fetch(self) -> _Shares:
        self._call = self._call or function("nvmlDeviceGetProcessUtilization")
        # Where the wall clock was set back, what was seen lies ahead, and nothing would be newer.
        since = c_ulonglong(min(self._seen, time.time_ns() // 1000))
        code = self._buffer.fill(lambda items, count: self._call(self._handle, items, count, since))
        now = time.monotonic()
        if code == NOT_FOUND and now - self._read_at < _PERIOD:
            raise Reading(Reason.NOT_OBSERVED)
        if code and code != NOT_FOUND:
            raise failure(code)
        self._read_at = now
        return {} if code else self._means()

    def _means(self) -> _Shares:
        """A process that is not in a sample did nothing then; None for one with numbers that are no percentages."""
        found: dict[tuple[int, int], int] = {}
        strange: set[int] = set()
        for sample in self._buffer:
            key = sample.pid, sample.time
            found[key] = max(sample.sm, found.get(key, 0))
            if sample.sm > _WHOLE:
                strange.add(sample.pid)
        times = {time for _, time in found}
        self._seen = max(times, default=self._seen)
        sums: dict[int, int] = {}
        for (pid, _), share in found.items():
            sums[pid] = sums.get(pid, 0) + share
        return {pid: None if pid in strange else total / len(times) for pid, total in sums.items()}


def _process(pid: int, kinds: tuple[str, ...], memory: int, activity: _Shares | Reason) -> GpuProcess:
    absent: dict[str, str] = {}
    if memory == _NO_MEMORY:
        absent["memory"] = Reason.UNSUPPORTED.word
    sm = None if isinstance(activity, Reason) else activity.get(pid, 0.0)
    if sm is None:
        absent["sm"] = (activity if isinstance(activity, Reason) else Reason.IMPLAUSIBLE).word
    return GpuProcess(max(pid, 0), kinds, None if memory == _NO_MEMORY else memory, sm, absent)


def _newest(name: str) -> Any:
    """The newest version of a function that the library has. Reading where it has none that fills our struct."""
    for version in _VERSIONS[:-1]:
        try:
            return function(name + version)
        except Reading:
            continue
    return function(name + _VERSIONS[-1])
