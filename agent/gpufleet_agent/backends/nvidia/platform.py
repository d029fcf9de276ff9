"""Where a board sits, as the platform tells: chassis, tray, slot, host.

pynvml declares the numbers of this struct as characters and decodes them as text, and older versions lack it: so
its bytes are read here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from ctypes import byref, create_string_buffer
from typing import Any

from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.backends.nvidia.library import Handle, failure, function
from gpufleet_agent.catalogue import Reason

# nvmlPlatformInfo_v1_t and _v2_t: version, InfiniBand GUID, rack GUID or chassis serial, five numbers, padding.
_LAYOUT = struct.Struct("=I16s16s5B3x")
_SECOND, _FIRST = 2, 1


def _info(handle: Handle, version: int) -> tuple[str, int, int, int, int]:
    """Chassis serial (or rack GUID), slot, tray, host, module."""
    buffer = create_string_buffer(_LAYOUT.pack(version << 24 | _LAYOUT.size, b"", b"", 0, 0, 0, 0, 0), _LAYOUT.size)
    code = function("nvmlDeviceGetPlatformInfo")(handle, byref(buffer))
    if code:
        raise failure(code)
    _, _, chassis, slot, tray, host, _, module = _LAYOUT.unpack(buffer.raw)
    return chassis.rstrip(b"\0").decode("ascii", "backslashreplace"), slot, tray, host, module


def chassis_serial(handle: Handle) -> str:
    """The chassis' serial number; the first version of the struct has none."""
    serial = _info(handle, _SECOND)[0]
    if not serial:
        raise Reading(Reason.UNSUPPORTED)
    return serial


def _number(at: int) -> Callable[[Handle], Any]:
    def read(handle: Handle) -> int:
        try:
            info = _info(handle, _SECOND)
        except Reading:
            info = _info(handle, _FIRST)
        return int(info[at])

    return read


slot_number, tray_index, host_id, module_id = (_number(at) for at in (1, 2, 3, 4))
