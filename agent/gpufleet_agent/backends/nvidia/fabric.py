"""What a GPU tells of the NVLink fabric it is part of: sources, and the two facts of the roster."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from ctypes import byref
from typing import Any

from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.backends.nvidia.library import Handle, failure, function
from gpufleet_agent.backends.nvidia.moment import Number
from gpufleet_agent.backends.nvidia.sources import Call, Convert, Get
from gpufleet_agent.backends.nvidia.structs import Fabric, FabricFirst, FabricSecond, versioned
from gpufleet_agent.catalogue import Reason

# Newest first: each of NVML's versions has what the one before had. Drivers refuse those they do not know.
_THIRD = Call("nvmlDeviceGetGpuFabricInfoV", (Fabric,), version=3)
_SECOND = Call("nvmlDeviceGetGpuFabricInfoV", (FabricSecond,), version=2)
_FIRST = Call("nvmlDeviceGetGpuFabricInfo", (FabricFirst,))
# Of NVML's health mask: where a part begins, its bits, and the values that say that nothing is wrong or known.
_TROUBLES = (
    (0, 0x3, (0, 2)),
    (2, 0x3, (0, 2)),
    (4, 0x3, (0, 2)),
    (6, 0x3, (0, 2)),
    (8, 0xF, (0, 1)),
    (12, 0x3, (0, 1)),
    (14, 0x3, (0, 1)),
)


def trouble(mask: Number) -> Number:
    """The catalogue's flags of NVML's health mask. Reading where the driver tells nothing by it."""
    if not mask:
        raise Reading(Reason.UNSUPPORTED)
    parts = ((int(mask) >> shift & bits) not in well for shift, bits, well in _TROUBLES)
    return sum(1 << number for number, is_bad in enumerate(parts) if is_bad)


def _registering(state: Number) -> Number:
    """A GPU that is part of no fabric says 0."""
    if not state:
        raise Reading(Reason.UNSUPPORTED)
    return state


def _of(member: str, convert: Convert | None, *calls: Call) -> tuple[Get, ...]:
    return tuple(Get(call, member, convert) for call in calls)


STATE = _of("state", _registering, _THIRD, _SECOND, _FIRST)
STATUS = _of("status", None, _THIRD, _SECOND, _FIRST)
TROUBLE = _of("health_mask", trouble, _THIRD, _SECOND)


def _info(handle: Handle) -> Fabric | FabricSecond | FabricFirst:
    problem: Exception = Reading(Reason.UNSUPPORTED)
    for call in (_THIRD, _SECOND, _FIRST):
        (kind,) = call.fills
        found: Fabric | FabricSecond | FabricFirst = kind()
        if call.version:
            found.version = versioned(kind, call.version)
        try:
            code = function(call.name)(handle, byref(found))
        except Reading as failed:
            problem = failed
            continue
        if not code:
            return found
        problem = failure(code)
    raise problem


def _registered(take: Callable[[Any], Any]) -> Callable[[Handle], Any]:
    def read(handle: Handle) -> Any:
        found = _info(handle)
        if not found.state:
            raise Reading(Reason.UNSUPPORTED)
        return take(found)

    return read


def _cluster(found: Any) -> str:
    # All zero on a board that is a fabric of its own.
    return str(uuid.UUID(bytes=bytes(found.cluster)))


cluster = _registered(_cluster)
clique = _registered(lambda found: found.clique)
