"""Where every metric that is part of each sample comes from."""

from __future__ import annotations

from ctypes import c_uint, c_ulonglong

from gpufleet_agent.backends.nvidia.fields import ALL_LINKS
from gpufleet_agent.backends.nvidia.moment import Number
from gpufleet_agent.backends.nvidia.rows import Row
from gpufleet_agent.backends.nvidia.sources import (
    BufferMean,
    Call,
    Field,
    Get,
    GpmMetric,
    Headroom,
    Links,
    OverInstances,
    OverParts,
    ProcessCount,
    Rate,
    Source,
)
from gpufleet_agent.backends.nvidia.structs import Bar1, Margin, Memory, MemoryFirst, Temperature, Utilization
from gpufleet_agent.catalogue import BY_NAME, Reason
from gpufleet_agent.wire import Gpu

_RATES = Call("nvmlDeviceGetUtilizationRates", (Utilization,))
_MEMORY = Call("nvmlDeviceGetMemoryInfo_v2", (Memory,), version=2)
_MEMORY_FIRST = Call("nvmlDeviceGetMemoryInfo", (MemoryFirst,))
_TEMPERATURE = Get(Call("nvmlDeviceGetTemperatureV", (Temperature,), version=1), "temperature")
_TEMPERATURE_FIRST = Get(Call("nvmlDeviceGetTemperature", arguments=(0,)))
_LANE_BYTES = {1: 0.25e9, 2: 0.5e9, 3: 0.985e9, 4: 1.969e9, 5: 3.938e9, 6: 7.563e9}
_NVLINK_BYTES = 200e9
# From this branch on the ids of the finer counters of held clocks are the same in every driver.
_HELD_BY_HARDWARE = 590


def milli(value: Number) -> float:
    """From thousandths."""
    return value / 1000


def kibi(value: Number) -> Number:
    """From KiB to bytes."""
    return value * 1024


def mebi(value: Number) -> Number:
    """From MiB to bytes."""
    return value * (1 << 20)


def share(value: Number) -> Number:
    """A share which rounding has brought slightly above 100 % is 100 %."""
    return 100 if 100 < value <= 101 else value


def of_time(nanoseconds: Number) -> float:
    """From nanoseconds a second to a percentage."""
    return nanoseconds / 1e7


def memory_total(gpu: Gpu) -> float | None:
    """No more memory can be used than there is."""
    return gpu.memory_total


def power_ceiling(gpu: Gpu) -> float:
    """Three times the highest limit, W: short peaks above the limit are real."""
    return 3 * (gpu.power_limit_max or 3000.0)


def pcie_ceiling(gpu: Gpu) -> float:
    """Bytes a second that the PCIe link can carry at most."""
    generation, width = gpu.pcie_generation_max or 6, gpu.pcie_width_max or 16
    return _LANE_BYTES.get(generation, 16e9) * width


def nvlink_ceiling(gpu: Gpu) -> float:
    """Bytes a second of all NVLinks, more than any generation carries."""
    return _NVLINK_BYTES * (gpu.nvlink_count or 36)


def _engine(name: str, first: str, kind: int) -> Row:
    return Row(name, (BufferMean(kind), Get(Call(first, (c_uint, c_uint)))), most=100)


def _gpm(name: str, number: int) -> Row:
    return Row(name, (GpmMetric(number, share),), most=100)


def _activity(name: str, number: int) -> Row:
    """What is a mean of all multiprocessors: of a GPU that MIG cuts, those of its partitions."""
    return Row(name, (OverParts(GpmMetric(number), share), GpmMetric(number, share)), most=100)


def _memory(name: str, member: str, *others: Source) -> Row:
    return Row(name, (Get(_MEMORY, member), Get(_MEMORY_FIRST, member), *others), most=memory_total)


def _held(name: str, number: int, since: int = 0) -> Row:
    # What the driver brings up to date late makes the next interval look longer than it was.
    return Row(name, (Rate(Field(number, since=since), lambda grown: min(of_time(grown), 100)),), most=100)


def _clock(name: str, kind: int) -> Row:
    return Row(name, (Get(Call("nvmlDeviceGetClockInfo", arguments=(kind,))),), most=20_000)


_FREE = _memory("fb_free", "free")
_RESERVED = Row("fb_reserved", (Get(_MEMORY, "reserved"),), most=memory_total)
_PROCESSES = Row(
    "compute_processes",
    (
        ProcessCount("nvmlDeviceGetComputeRunningProcesses_v3"),
        ProcessCount("nvmlDeviceGetComputeRunningProcesses_v2"),
    ),
)

ROWS: tuple[Row, ...] = (
    Row("gpu_utilization", (BufferMean(1), Get(_RATES, "gpu")), most=100),
    Row("memory_copy_utilization", (BufferMean(2), Get(_RATES, "memory")), most=100),
    _engine("encoder_utilization", "nvmlDeviceGetEncoderUtilization", 3),
    _engine("decoder_utilization", "nvmlDeviceGetDecoderUtilization", 4),
    _engine("jpeg_utilization", "nvmlDeviceGetJpgUtilization", 8),
    _engine("ofa_utilization", "nvmlDeviceGetOfaUtilization", 9),
    _activity("sm_active", 2),
    _activity("sm_occupancy", 3),
    _activity("tensor_active", 5),
    _activity("fp64_active", 11),
    _activity("fp32_active", 12),
    _activity("fp16_active", 13),
    _gpm("dram_active", 10),
    # Who may not see the whole memory of a GPU that MIG cuts may see its instances'.
    _memory("fb_used", "used", OverInstances(Get(_MEMORY, "used"))),
    _FREE,
    _RESERVED,
    Row("bar1_used", (Get(Call("nvmlDeviceGetBAR1MemoryInfo", (Bar1,)), "used"),)),
    Row(
        "power",
        (
            Rate(Field(83), milli),
            Rate(Get(Call("nvmlDeviceGetTotalEnergyConsumption", (c_ulonglong,))), milli),
            Field(185, milli),
            Field(186, milli),
            Get(Call("nvmlDeviceGetPowerUsage"), convert=milli),
        ),
        # A board that answers draws power: a counter that stands still is stuck.
        least=0.1,
        most=power_ceiling,
    ),
    Row(
        "energy",
        (Field(83), Get(Call("nvmlDeviceGetTotalEnergyConsumption", (c_ulonglong,)))),
        most=power_ceiling,
        convert=milli,
    ),
    Row("gpu_temperature", (_TEMPERATURE, _TEMPERATURE_FIRST), least=-100, most=200),
    Row("memory_temperature", (Field(82),), least=-100, most=200),
    Row(
        "temperature_margin",
        (
            Get(Call("nvmlDeviceGetMarginTemperature", (Margin,), version=1), "margin"),
            Headroom(_TEMPERATURE),
            Headroom(_TEMPERATURE_FIRST),
        ),
        least=-200,
        most=300,
    ),
    Row(
        "fan_speed",
        (Get(Call("nvmlDeviceGetFanSpeed")), Get(Call("nvmlDeviceGetFanSpeed_v2", arguments=(0,)))),
        most=200,
    ),
    _clock("sm_clock", 1),
    _clock("memory_clock", 2),
    _clock("graphics_clock", 0),
    _clock("video_clock", 3),
    Row("performance_state", (Get(Call("nvmlDeviceGetPerformanceState")),), most=15),
    Row(
        "clock_event_reasons",
        (
            Get(Call("nvmlDeviceGetCurrentClocksEventReasons", (c_ulonglong,))),
            Get(Call("nvmlDeviceGetCurrentClocksThrottleReasons", (c_ulonglong,))),
        ),
    ),
    _held("clocks_held_by_power", 74),
    _held("clocks_held_by_heat", 75),
    _held("clocks_held_by_power_brake", 271, since=_HELD_BY_HARDWARE),
    _PROCESSES,
    Row("pcie_tx_bytes", (Field(197),), most=pcie_ceiling, bits=32, rates=(GpmMetric(20, mebi),)),
    Row("pcie_rx_bytes", (Field(198),), most=pcie_ceiling, bits=32, rates=(GpmMetric(21, mebi),)),
    Row(
        "nvlink_tx_bytes",
        (Field(138, kibi, ALL_LINKS), Links(lambda link: Field(202, scope=link, since=560))),
        most=nvlink_ceiling,
        rates=(GpmMetric(61, mebi),),
    ),
    Row(
        "nvlink_rx_bytes",
        (Field(139, kibi, ALL_LINKS), Links(lambda link: Field(204, scope=link, since=560))),
        most=nvlink_ceiling,
        rates=(GpmMetric(60, mebi),),
    ),
)

# Of partitions: memory and processes are asked of their own handles, activity is their GPU instance's. GPM tells the
# share of the time in which the graphics engine, which runs all kernels, was busy.
PARTITION_ROWS: tuple[Row, ...] = (
    _memory("fb_used", "used"),
    _FREE,
    _RESERVED,
    _PROCESSES,
    _gpm("gpu_utilization", 1),
    _gpm("sm_active", 2),
    _gpm("sm_occupancy", 3),
    _gpm("tensor_active", 5),
    _gpm("fp64_active", 11),
    _gpm("fp32_active", 12),
    _gpm("fp16_active", 13),
    _gpm("dram_active", 10),
)

NAMES: tuple[str, ...] = tuple(row.metric for row in ROWS)
METRICS = tuple(BY_NAME[name] for name in NAMES)
PARTITION_NAMES: tuple[str, ...] = tuple(row.metric for row in PARTITION_ROWS)
PARTITION_METRICS = tuple(BY_NAME[name] for name in PARTITION_NAMES)

_AT = {name: number for number, name in enumerate(NAMES)}
_GPM = tuple(_AT[row.metric] for row in ROWS if isinstance(row.sources[-1], GpmMetric))
_BUSY, _ACTIVE, _POWER = _AT["gpu_utilization"], _AT["sm_active"], _AT["power"]


def cross_check(values: list[int], gpu: Gpu) -> None:
    """Mark GPM's zeros as implausible where the GPU is busy all the time and draws power like it.

    After some faults (XID 31) the profiling counters stay at zero although kernels run.
    """
    if values[_ACTIVE] != 0 or values[_BUSY] < 9900 or not gpu.power_limit_max:
        return
    watts = METRICS[_POWER].value(values[_POWER])
    if watts is not None and watts > 0.6 * gpu.power_limit_max:
        for at in _GPM:
            if values[at] == 0:
                values[at] = METRICS[at].absent(Reason.IMPLAUSIBLE)
