"""The driver's ring buffers of samples, and the mean of what is new in one."""

from __future__ import annotations

import time
from ctypes import byref, c_uint, c_ulonglong
from functools import partial

from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.backends.nvidia.library import Handle, failure, function
from gpufleet_agent.backends.nvidia.moment import Moment
from gpufleet_agent.backends.nvidia.structs import Sample
from gpufleet_agent.catalogue import Reason

# How to read the values of an array of samples by their nvmlValueType_t, as a memory view: format, first, stride.
# A sample is 16 bytes, the time before the value; all machines with NVIDIA's driver are little-endian.
_VIEWS = (("d", 1, 2), ("I", 2, 4), ("Q", 1, 2), ("Q", 1, 2), ("q", 1, 2), ("i", 2, 4), ("H", 4, 8))


class RingBuffer:
    """One of the driver's ring buffers of one GPU, by nvmlSamplingType_t. Reading where it is not supported."""

    __slots__ = ("_bytes", "_capacity", "_count", "_run", "_seen", "_seen_type", "_times", "_type", "_values")

    def __init__(self, handle: Handle, kind: int) -> None:
        self._type, self._count, self._seen = c_uint(), c_uint(), c_ulonglong()
        fills = (byref(self._type), byref(self._count))
        samples = function("nvmlDeviceGetSamples")
        code = samples(handle, kind, self._seen, *fills, None)
        if code:
            raise failure(code, argued=True)
        self._capacity = self._count.value
        array = (Sample * self._capacity)()
        self._bytes = memoryview(array).cast("B")
        self._times: memoryview[int] = self._bytes.cast("Q")
        self._values: memoryview[int] | memoryview[float] = self._times
        self._seen_type = -1
        self._run = partial(samples, handle, kind, self._seen, *fills, array)
        self._begin()

    def mean(self, moment: Moment) -> float:
        """The mean of the samples that are new. Reading where there is none."""
        self._fetch()
        if self._type.value != self._seen_type:
            self._look_anew()
        _, first, stride = _VIEWS[self._seen_type]
        count = self._count.value
        return sum(self._values[first : stride * count : stride]) / count

    def _begin(self) -> None:
        """What the buffer holds now is before the first interval."""
        try:
            self._fetch()
        except Reading:
            self._seen.value = time.time_ns() // 1000

    def _fetch(self) -> None:
        self._count.value = self._capacity
        code = self._run()
        count = self._count.value
        if code or not count:
            raise failure(code, argued=True)
        self._seen.value = max(self._times[: 2 * count : 2])

    def _look_anew(self) -> None:
        if self._type.value >= len(_VIEWS):
            raise Reading(Reason.IMPLAUSIBLE)
        self._seen_type = self._type.value
        self._values = self._bytes.cast(_VIEWS[self._seen_type][0])  # type: ignore[call-overload]
