"""NVML's C structs that are read in every sample: plain ctypes, without the cost of pynvml's attribute hooks."""

from __future__ import annotations

import ctypes
from ctypes import (
    c_double,
    c_int,
    c_int64,
    c_longlong,
    c_ubyte,
    c_uint,
    c_ulong,
    c_ulonglong,
    c_ushort,
    c_void_p,
)


class Utilization(ctypes.Structure):
    """nvmlUtilization_t: percent."""

    _fields_ = (("gpu", c_uint), ("memory", c_uint))


class Memory(ctypes.Structure):
    """nvmlMemory_v2_t: bytes."""

    _fields_ = (
        ("version", c_uint),
        ("total", c_ulonglong),
        ("reserved", c_ulonglong),
        ("free", c_ulonglong),
        ("used", c_ulonglong),
    )


class MemoryFirst(ctypes.Structure):
    """nvmlMemory_t: bytes; what the driver reserves counts as used."""

    _fields_ = (("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong))


class Bar1(ctypes.Structure):
    """nvmlBAR1Memory_t: bytes."""

    _fields_ = (("total", c_ulonglong), ("free", c_ulonglong), ("used", c_ulonglong))


class Temperature(ctypes.Structure):
    """nvmlTemperature_v1_t: °C of sensor 0, the GPU die."""

    _fields_ = (("version", c_uint), ("sensor", c_uint), ("temperature", c_int))


class Margin(ctypes.Structure):
    """nvmlMarginTemperature_v1_t: °C."""

    _fields_ = (("version", c_uint), ("margin", c_int))


class Process(ctypes.Structure):
    """nvmlProcessInfo_v2_t, which is also the third version."""

    _fields_ = (("pid", c_uint), ("used", c_ulonglong), ("gpu_instance", c_uint), ("compute_instance", c_uint))


class ProcessSample(ctypes.Structure):
    """nvmlProcessUtilizationSample_t: µs since the epoch, and percent."""

    _fields_ = (
        ("pid", c_uint),
        ("time", c_ulonglong),
        ("sm", c_uint),
        ("memory", c_uint),
        ("encoder", c_uint),
        ("decoder", c_uint),
    )


class FabricFirst(ctypes.Structure):
    """nvmlGpuFabricInfo_t."""

    _fields_ = (("cluster", c_ubyte * 16), ("status", c_uint), ("clique", c_uint), ("state", c_uint))


class FabricSecond(ctypes.Structure):
    """nvmlGpuFabricInfo_v2_t."""

    _fields_ = (("version", c_uint), *FabricFirst._fields_, ("health_mask", c_uint))


class Fabric(ctypes.Structure):
    """nvmlGpuFabricInfo_v3_t."""

    _fields_ = (*FabricSecond._fields_, ("health", c_ubyte))


class RemapHistogram(ctypes.Structure):
    """nvmlRowRemapperHistogramValues_t: memory banks by how many of their spare rows are left."""

    _fields_ = (("full", c_uint), ("high", c_uint), ("partial", c_uint), ("low", c_uint), ("none", c_uint))


class SramStatus(ctypes.Structure):
    """nvmlEccSramErrorStatus_v1_t."""

    _fields_ = (("version", c_uint), ("counts", c_ulonglong * 11), ("threshold_exceeded", c_uint))


class Value(ctypes.Union):
    """nvmlValue_t: which member holds the value is said elsewhere, by `MEMBERS`."""

    _fields_ = (
        ("double", c_double),
        ("uint", c_uint),
        ("ulong", c_ulong),
        ("ulonglong", c_ulonglong),
        ("longlong", c_longlong),
        ("int", c_int),
        ("ushort", c_ushort),
    )


# Member of Value by nvmlValueType_t.
MEMBERS = ("double", "uint", "ulong", "ulonglong", "longlong", "int", "ushort")


class Sample(ctypes.Structure):
    """nvmlSample_t: µs since the epoch, and the value."""

    _fields_ = (("time", c_ulonglong), ("value", Value))


class FieldValue(ctypes.Structure):
    """nvmlFieldValue_t."""

    _anonymous_ = ("value",)
    _fields_ = (
        ("field", c_uint),
        ("scope", c_uint),
        ("time", c_int64),
        ("latency", c_int64),
        ("type", c_uint),
        ("code", c_uint),
        ("value", Value),
    )


class EventData(ctypes.Structure):
    """nvmlEventData_t."""

    _fields_ = (
        ("device", c_void_p),
        ("type", c_ulonglong),
        ("data", c_ulonglong),
        ("gpu_instance", c_uint),
        ("compute_instance", c_uint),
    )


class GpmMetric(ctypes.Structure):
    """nvmlGpmMetric_t: the three pointers of its description are not read."""

    _fields_ = (("number", c_uint), ("code", c_uint), ("result", c_double), ("description", c_void_p * 3))


def versioned(kind: type[ctypes.Structure], version: int) -> int:
    """The `version` of a struct as NVML wants it: the number in the highest byte, the size in the others."""
    return version << 24 | ctypes.sizeof(kind)
