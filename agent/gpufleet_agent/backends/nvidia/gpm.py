"""GPM, NVML's profiling metrics of Hopper and newer: means between two samples of a GPU or a GPU instance.

Two drawers of samples of each are filled in turn. All of it is called from one thread only: the library is known to
crash where several ask at once.
"""

from __future__ import annotations

import ctypes
from functools import partial

from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.backends.nvidia.library import Handle, ask, failure, function
from gpufleet_agent.backends.nvidia.moment import Moment, Reader
from gpufleet_agent.backends.nvidia.structs import GpmMetric
from gpufleet_agent.catalogue import Reason

CLOSEST = 0.1
_MOST = 64


class _Request(ctypes.Structure):
    """nvmlGpmMetricsGet_t with room for as many metrics as are ever asked for: the driver reads `count` of them."""

    _fields_ = (
        ("version", ctypes.c_uint),
        ("count", ctypes.c_uint),
        ("older", ctypes.c_void_p),
        ("newer", ctypes.c_void_p),
        ("metrics", GpmMetric * _MOST),
    )


class Gpm:
    """The GPM metrics of one GPU, or of the GPU instance of that id. Reading(UNSUPPORTED) where the GPU has no GPM.

    `handle` is the GPU's either way.
    """

    def __init__(self, handle: Handle, instance: int | None = None) -> None:
        if not ask("nvmlGpmQueryDeviceSupport", handle).isSupportedDevice:
            raise Reading(Reason.UNSUPPORTED)
        if instance is None:
            self._take = partial(function("nvmlGpmSampleGet"), handle)
        else:
            self._take = partial(function("nvmlGpmMigSampleGet"), handle, ctypes.c_uint(instance))
        self._compute, self._free = function("nvmlGpmMetricsGet"), function("nvmlGpmSampleFree")
        self._request = _Request(version=1)
        self._readers: dict[int, Reader] = {}
        self._newer, self._older = _allocate(), _allocate()
        self._taken_at: float | None = None
        self._computed = 0
        self._moment: Moment | None = None
        self._problem: Reason | None = Reason.NOT_OBSERVED

    def metric(self, number: int) -> Reader:
        """The reader of one metric, by its NVML number."""
        if number not in self._readers:
            self._readers[number] = self._add(number)
        return self._readers[number]

    def _add(self, number: int) -> Reader:
        at = self._request.count
        cell = self._request.metrics[at]
        cell.number = number
        self._request.count += 1

        def read(moment: Moment) -> float:
            self._fetch(moment)
            if self._problem is not None:
                raise Reading(self._problem)
            if at >= self._computed:
                # Wanted only after the others had been computed in this moment.
                self._derive()
            if cell.code:
                raise failure(cell.code, argued=True)
            value: float = cell.result
            return value

        return read

    def close(self) -> None:
        """Free the samples."""
        for sample in (self._newer, self._older):
            self._free(sample)

    def _fetch(self, moment: Moment) -> None:
        if self._moment is moment:
            return
        self._moment = moment
        if self._taken_at is not None and moment.now - self._taken_at < CLOSEST:
            self._problem = Reason.NOT_OBSERVED
            return
        try:
            self._problem = self._advance(moment.now)
        except Reading as failed:
            self._problem = failed.reason

    def _advance(self, now: float) -> Reason | None:
        code = self._take(self._older)
        if code:
            raise failure(code)
        self._newer, self._older = self._older, self._newer
        is_first, self._taken_at = self._taken_at is None, now
        if is_first:
            return Reason.NOT_OBSERVED
        self._request.older, self._request.newer = self._older, self._newer
        self._derive()
        return None

    def _derive(self) -> None:
        code = self._compute(ctypes.byref(self._request))
        if code:
            raise failure(code)
        self._computed = self._request.count


def _allocate() -> ctypes.c_void_p:
    sample = ctypes.c_void_p()
    code = function("nvmlGpmSampleAlloc")(ctypes.byref(sample))
    if code:
        raise failure(code)
    return sample
