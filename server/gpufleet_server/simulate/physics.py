"""Every metric of simulated GPUs as a pure function of (GPU, time): load makes power, power makes heat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gpufleet_agent.catalogue import EVERY_SAMPLE, ON_CHANGE, Metric, Reason, Unit
from numpy.typing import NDArray

from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.faults import FaultKind
from gpufleet_server.simulate.noise import Floats, Integers, noise
from gpufleet_server.simulate.plan import SimNode
from gpufleet_server.simulate.workload import Load, load

_SECOND = 1_000_000
_KIB, _MIB = 1 << 10, 1 << 20
# Heat lags behind power: the mean of what was drawn at these many seconds before.
_LAGS = np.array([0, 15, 40, 90], dtype=np.int64) * _SECOND
_HOT = 1.75
_IDLE, _POWER_CAP, _THERMAL, _HARD_THERMAL = 0x1, 0x4, 0x20, 0x40
# Bytes per second and lane of PCIe 1 are 250 MB; each generation doubles it.
_LANE = 250e6
_CAP = 21
# NVML's number of a GPU that is registered with its fabric, and of the action that it is to be reset.
_REGISTERED, _RESET = 3.0, 1.0
_BANKS = 640
_BORN = 1_735_689_600 * _SECOND

Stored = dict[str, Integers]
_DTYPE = {2: "<i2", 4: "<i4", 8: "<i8"}
_SCALE = {metric.name: float(1 / metric.step) for metric in (*EVERY_SAMPLE, *ON_CHANGE)}


@dataclass(frozen=True, slots=True)
class _Drawn:
    """Power in W, the share of what the load asked for that was granted, and whether power or heat held it."""

    power: Floats
    granted: Floats
    capped: NDArray[np.bool_]
    throttled: NDArray[np.bool_]

    def first(self, count: int) -> _Drawn:
        """The same at the first `count` times."""
        return _Drawn(*(getattr(self, field)[:count] for field in self.__slots__))


def samples(node: SimNode, times: Integers, durations: Integers) -> Stored:
    """What `columns` gives of one node's GPUs, as int64."""
    found = columns(Boards.of([node]), times, durations)
    return {name: stored.astype(np.int64) for name, stored in found.items()}


def columns(boards: Boards, times: Integers, durations: Integers) -> dict[str, NDArray[np.signedinteger]]:
    """Metric → stored integers, times × GPUs, for every metric of cadence *every sample*, absent values included.

    `times` are the ends of the intervals (µs since the epoch), `durations` their lengths (ms). The integers are as
    wide as the catalogue says.
    """
    count = len(times)
    with_before = (times - _LAGS[:, None]).ravel()
    everything = load(boards, with_before)
    drawn = _drawn(boards, everything, with_before)
    warm = drawn.power.reshape(len(_LAGS), count, len(boards)).mean(axis=0)
    now, drawn = everything.first(count), drawn.first(count)
    values = _activity(now) | _memory(boards, now) | _heat(boards, now, drawn, warm, times)
    values |= _clocks(boards, now, drawn) | _traffic(boards, now, durations)
    values["energy"] = _stored_power(drawn.power) * durations[:, None] / 10_000
    lost = lost_gpus(boards, times)
    return {metric.name: _stored(boards, metric, values[metric.name], lost) for metric in EVERY_SAMPLE}


def lost_gpus(boards: Boards, times: Integers) -> NDArray[np.bool_] | None:
    """Which GPUs (columns) are off the bus at these times (rows); None where none is."""
    lost: NDArray[np.bool_] | None = None
    for struck, fault in boards.faults(FaultKind.LOST):
        if (times >= fault.start).any():
            lost = np.zeros((len(times), len(boards)), dtype=np.bool_) if lost is None else lost
            lost[:, struck] |= (times >= fault.start)[:, None]
    return lost


def states(node: SimNode, at: int) -> Stored:
    """What `states_of` gives of one node's GPUs, by metric."""
    return dict(zip((metric.name for metric in ON_CHANGE), states_of(Boards.of([node]), at), strict=True))


def states_of(boards: Boards, at: int) -> Integers:
    """The stored integer of every GPU (columns) for every metric sent on change (rows), as of `at` (µs)."""
    times = np.array([at], dtype=np.int64)
    values = _errors(boards, at) | _link(boards, times) | _spares(boards, at)
    values["power_limit"] = boards.model["power_limit"][None, :]
    lost = lost_gpus(boards, times)
    return np.stack([_stored(boards, metric, values[metric.name], lost)[0].astype(np.int64) for metric in ON_CHANGE])


def _stored(
    boards: Boards, metric: Metric, values: Floats, lost: NDArray[np.bool_] | None
) -> NDArray[np.signedinteger]:
    scale = _SCALE[metric.name]
    stored = np.rint(values if scale == 1.0 else values * scale).astype(_DTYPE[metric.width])
    unsupported = boards.unsupported.get(metric.name)
    if unsupported is not None:
        stored[:, unsupported] = metric.absent(Reason.UNSUPPORTED)
    if lost is not None:
        stored[lost] = metric.absent(Reason.LOST)
    return stored


def _stored_power(power: Floats) -> Floats:
    return np.rint(power * 10)


def _heating(boards: Boards, times: Integers) -> Floats:
    """What a W warms each GPU over its inlet's air, °C: more where the cooling is failing."""
    heat = boards.model["heat"] * (1 + 4 * (boards.uneven - 1))
    hot = list(boards.faults(FaultKind.HOT))
    if not hot:
        return heat[None, :]
    heat = np.repeat(heat[None, :], len(times), axis=0)
    for struck, fault in hot:
        failing = np.clip((times - fault.start) / (120 * _SECOND), 0.0, 1.0)
        heat[:, struck] *= 1 + (_HOT - 1) * failing[:, None]
    return heat


def _drawn(boards: Boards, of: Load, times: Integers) -> _Drawn:
    idle, limit = boards.model["power_idle"], boards.model["power_limit"]
    effort = 0.25 * of.multiprocessors + 0.75 * of.tensor + 0.45 * of.dram
    awake = 0.04 * (of.processes > 0)
    asked = idle + (limit - idle) * np.minimum(effort * 1.12 + awake, 1.2)
    bearable = (boards.model["slowdown"] + 0.4 - boards.inlet) / _heating(boards, times)
    allowed = limit * (1 - 0.015 * noise(boards.keys, _CAP, times // _SECOND))
    power = np.minimum(np.minimum(asked, allowed), bearable)
    return _Drawn(power, power / asked, (asked > allowed) & (power < bearable), bearable <= power)


def _activity(of: Load) -> dict[str, Floats]:
    busy = 1 - (1 - of.multiprocessors) ** 2.5
    nothing = np.zeros_like(busy)
    shares = {
        "gpu_utilization": busy,
        "memory_copy_utilization": of.dram * 0.8,
        "encoder_utilization": of.video * 0.2,
        "decoder_utilization": of.video,
        "jpeg_utilization": of.video * 0.4,
        "ofa_utilization": nothing,
        "sm_active": of.multiprocessors,
        "sm_occupancy": of.multiprocessors * 0.41,
        "tensor_active": of.tensor,
        "fp64_active": of.multiprocessors * 0.004,
        "fp32_active": of.multiprocessors * 0.12,
        "fp16_active": of.multiprocessors * 0.05,
        "dram_active": of.dram,
    }
    return {name: share * 100.0 for name, share in shares.items()} | {"compute_processes": of.processes}


def _memory(boards: Boards, of: Load) -> dict[str, Floats]:
    reserved, whole = boards.model["reserved"], boards.model["memory"]
    used = np.rint((reserved + of.memory(boards.uneven) * (whole - reserved)) * _KIB) * _KIB
    return {
        "fb_used": used,
        "fb_free": whole * _MIB - used,
        "fb_reserved": np.broadcast_to(reserved * _MIB, used.shape),
        "bar1_used": (2 + 4 * of.processes) * _MIB,
    }


def _heat(boards: Boards, of: Load, drawn: _Drawn, warm: Floats, times: Integers) -> dict[str, Floats]:
    slowdown = boards.model["slowdown"]
    # What it drew when the cooling was better does not heat it now: at its limit it slows down at once.
    die = np.minimum(np.rint(boards.inlet + _heating(boards, times) * warm), slowdown + 1)
    return {
        "power": drawn.power,
        "gpu_temperature": die,
        "memory_temperature": die + 4 + np.rint(9 * of.dram),
        "temperature_margin": slowdown - die,
        "fan_speed": np.clip((die - 30) * 1.6, 22, 100),
    }


def _clocks(boards: Boards, of: Load, drawn: _Drawn) -> dict[str, Floats]:
    model = boards.model
    busy, awake = of.multiprocessors > 0, of.processes > 0
    graphics = np.where(busy, np.rint(model["clock_max"] * drawn.granted**0.6), model["clock_idle"])
    quick = awake | boards.steady_clocks
    reasons = np.where(busy, 0, _IDLE) + _POWER_CAP * drawn.capped
    reasons = reasons + _THERMAL * drawn.throttled + _HARD_THERMAL * (drawn.throttled & (drawn.granted < 0.75))
    return {
        "sm_clock": graphics,
        "graphics_clock": graphics,
        "memory_clock": np.where(quick, model["memory_clock"], model["memory_clock_idle"]),
        "video_clock": np.rint(graphics * (model["video_clock"] / model["clock_max"])),
        "performance_state": np.where(quick, 0.0, 8.0),
        "clock_event_reasons": reasons.astype(np.float64),
        "clocks_held_by_power": 100.0 * drawn.capped,
        "clocks_held_by_heat": 100.0 * drawn.throttled,
        "clocks_held_by_power_brake": np.zeros_like(graphics),
    }


def _traffic(boards: Boards, of: Load, durations: Integers) -> dict[str, Floats]:
    seconds, model = durations[:, None] / 1000, boards.model
    pcie = of.pcie * (_LANE * 2 ** (model["pcie_generation"] - 1) * 16) * seconds
    nvlink = of.nvlink * (model["link_rate"] * model["nvlinks"]) * seconds
    return {
        "pcie_tx_bytes": pcie * 0.6,
        "pcie_rx_bytes": pcie,
        "nvlink_tx_bytes": nvlink,
        "nvlink_rx_bytes": nvlink * 0.98,
    }


def _link(boards: Boards, times: Integers) -> dict[str, Floats]:
    awake = (load(boards, times).processes > 0) | boards.steady_clocks
    nothing = np.zeros((1, len(boards)))
    return {
        "pcie_link_generation": np.where(awake, boards.model["pcie_generation"], 1.0),
        "pcie_link_width": np.full((1, len(boards)), 16.0),
        "nvlink_links_up": boards.model["nvlinks"][None, :],
        "nvlink_links_down": nothing,
        "fabric_state": nothing + _REGISTERED,
        "fabric_status": nothing,
        "fabric_trouble": nothing,
    }


def _errors(boards: Boards, at: int) -> dict[str, Floats]:
    """Counters that only grow: few GPUs have memory that errs, each at its own pace."""
    nothing = np.zeros((1, len(boards)))
    weak = boards.weakness[None, :]
    per_day = np.where(weak < 0.06, 600.0 * weak + 4.0, 0.0)
    life = np.floor((at - _BORN) / (86_400 * _SECOND) * per_day)
    recent = np.floor((at % (30 * 86_400 * _SECOND)) / (86_400 * _SECOND) * per_day)
    struck = _struck(boards, at)
    quiet = {metric.name: nothing for metric in ON_CHANGE if metric.unit in (Unit.COUNT, Unit.FLAG)}
    return quiet | {
        "ecc_dram_corrected": life,
        "ecc_dram_corrected_volatile": recent,
        "ecc_dram_uncorrected": struck,
        "ecc_dram_uncorrected_volatile": struck,
        "remapped_rows_correctable": np.minimum(np.floor(life / 2000), 8),
        "remapped_rows_uncorrectable": struck,
        "remap_pending": struck,
        "pcie_replays": np.floor(recent / 9),
        "recovery_action": np.where(struck > 0, _RESET, 0),
    }


def _spares(boards: Boards, at: int) -> dict[str, Floats]:
    """Memory banks by the spare rows that they have left: a bank that had a row remapped has most of them."""
    used = np.minimum(_struck(boards, at), _BANKS)
    return {"remap_banks_full_spares": _BANKS - used, "remap_banks_high_spares": used}


def _struck(boards: Boards, at: int) -> Floats:
    struck = np.zeros((1, len(boards)))
    for columns_struck, fault in boards.faults(FaultKind.UNCORRECTED):
        struck[0, columns_struck] += fault.active(at)
    return struck
