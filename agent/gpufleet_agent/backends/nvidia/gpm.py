"""GPM, NVML's profiling metrics of Hopper and newer: means between two samples of a GPU.

Two drawers of samples per GPU are filled in turn. All of it is called from one thread only: the library is known to
crash where several ask at once.
"""

from __future__ import annotations

import ctypes

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
    """The GPM metrics of one GPU. Reading(UNSUPPORTED) where the GPU has no GPM."""

    def __init__(self, handle: Handle) -> None:
        if not ask("nvmlGpmQueryDeviceSupport", handle).isSupportedDevice:
            raise Reading(Reason.UNSUPPORTED)
        self._handle = handle
        self._take, self._compute = function("nvmlGpmSampleGet"), function("nvmlGpmMetricsGet")
        self._free = function("nvmlGpmSampleFree")
        self._request = _Request(version=1)
        self._newer, self._older = _allocate(), _allocate()
        self._taken_at: float | None = None
        self._computed = 0
        self._moment: Moment | None = None
        self._problem: Reason | None = Reason.NOT_OBSERVED

    def metric(self, number: int) -> Reader:
        """A reader of one metric, by its NVML number."""
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
        code = self._take(self._handle, self._older)
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
