"""Every metric of a simulated GPU as a pure function of (node, time): load makes power, power makes heat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from gpufleet_agent.catalogue import EVERY_SAMPLE, ON_CHANGE, Metric, Reason, Unit
from numpy.typing import NDArray

from gpufleet_server.simulate.faults import FaultKind
from gpufleet_server.simulate.models import MIG_ABSENT
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
_BORN = 1_735_689_600 * _SECOND

Stored = dict[str, Integers]


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
    """Metric → stored integers, times × GPUs, for every metric of cadence *every sample*, absent values included.

    `times` are the ends of the intervals (µs since the epoch), `durations` their lengths (ms).
    """
    count = len(times)
    with_before = (times - _LAGS[:, None]).ravel()
    everything = load(node, with_before)
    drawn = _drawn(node, everything, with_before)
    warm = drawn.power.reshape(len(_LAGS), count, node.count).mean(axis=0)
    now, drawn = everything.first(count), drawn.first(count)
    values = _activity(node, now) | _memory(node, now) | _heat(node, now, drawn, warm, times)
    values |= _clocks(node, now, drawn) | _traffic(node, now, durations)
    values["energy"] = _stored_power(drawn.power) * durations[:, None] / 10_000
    lost = lost_gpus(node, times)
    return {metric.name: _stored(node, metric, values[metric.name], lost) for metric in EVERY_SAMPLE}


def lost_gpus(node: SimNode, times: Integers) -> NDArray[np.bool_]:
    """Which GPUs (columns) are off the bus at these times (rows)."""
    lost = np.zeros((len(times), node.count), dtype=np.bool_)
    for fault in node.having(FaultKind.LOST):
        lost[:, fault.gpu] |= times >= fault.start
    return lost


def states(node: SimNode, at: int) -> Stored:
    """Metric → stored integer of every GPU, for every metric that is sent on change, as of `at` (µs)."""
    times = np.array([at], dtype=np.int64)
    values = _errors(node, at) | _link(node, times)
    values["power_limit"] = np.full((1, node.count), node.model.power_limit)
    lost = lost_gpus(node, times)
    return {metric.name: _stored(node, metric, values[metric.name], lost)[0] for metric in ON_CHANGE}


def _stored(node: SimNode, metric: Metric, values: Floats, lost: NDArray[np.bool_]) -> Integers:
    stored = np.rint(values / float(metric.step)).astype(np.int64)
    if metric.name in node.model.absent:
        stored[:] = metric.absent(Reason.UNSUPPORTED)
    elif metric.name in MIG_ABSENT:
        stored[:, : node.partitioned] = metric.absent(Reason.UNSUPPORTED)
    stored[lost] = metric.absent(Reason.LOST)
    return stored


def _stored_power(power: Floats) -> Floats:
    return np.rint(power * 10)


def _inlet(node: SimNode, times: Integers) -> tuple[float, Floats]:
    """The air in front of the node, and what a W warms each GPU: more where the cooling is failing."""
    heat = np.full((len(times), 1), node.model.heat)
    for fault in node.having(FaultKind.HOT):
        failing = np.clip((times - fault.start) / (120 * _SECOND), 0.0, 1.0)
        heat *= 1 + (_HOT - 1) * failing[:, None]
    return node.site.inlet, heat * (1 + 4 * (node.uneven - 1))


def _drawn(node: SimNode, of: Load, times: Integers) -> _Drawn:
    model = node.model
    effort = 0.25 * of.multiprocessors + 0.75 * of.tensor + 0.45 * of.dram
    awake = 0.04 * (of.processes > 0)
    asked = model.power_idle + (model.power_limit - model.power_idle) * np.minimum(effort * 1.12 + awake, 1.2)
    inlet, heat = _inlet(node, times)
    bearable = (model.slowdown + 0.4 - inlet) / heat
    allowed = model.power_limit * (1 - 0.015 * noise(node.keys, _CAP, times // _SECOND))
    power = np.minimum(np.minimum(asked, allowed), bearable)
    return _Drawn(power, power / asked, (asked > allowed) & (power < bearable), bearable <= power)


def _activity(node: SimNode, of: Load) -> dict[str, Floats]:
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


def _memory(node: SimNode, of: Load) -> dict[str, Floats]:
    model = node.model
    used = np.rint((model.reserved + of.memory * (model.memory - model.reserved)) * _KIB) * _KIB
    return {
        "fb_used": used,
        "fb_free": float(model.memory * _MIB) - used,
        "fb_reserved": np.full_like(used, model.reserved * _MIB),
        "bar1_used": (2 + 4 * of.processes) * _MIB,
    }


def _heat(node: SimNode, of: Load, drawn: _Drawn, warm: Floats, times: Integers) -> dict[str, Floats]:
    inlet, heat = _inlet(node, times)
    # What it drew when the cooling was better does not heat it now: at its limit it slows down at once.
    die = np.minimum(np.rint(inlet + heat * warm), node.model.slowdown + 1)
    return {
        "power": drawn.power,
        "gpu_temperature": die,
        "memory_temperature": die + 4 + np.rint(9 * of.dram),
        "temperature_margin": node.model.slowdown - die,
        "fan_speed": np.clip((die - 30) * 1.6, 22, 100),
    }


def _clocks(node: SimNode, of: Load, drawn: _Drawn) -> dict[str, Floats]:
    model = node.model
    busy, awake = of.multiprocessors > 0, of.processes > 0
    graphics = np.where(busy, np.rint(model.clock_max * drawn.granted**0.6), model.clock_idle)
    quick = awake | model.steady_clocks
    reasons = np.where(busy, 0, _IDLE) + _POWER_CAP * drawn.capped
    reasons = reasons + _THERMAL * drawn.throttled + _HARD_THERMAL * (drawn.throttled & (drawn.granted < 0.75))
    return {
        "sm_clock": graphics,
        "graphics_clock": graphics,
        "memory_clock": np.where(quick, model.memory_clock, model.memory_clock_idle).astype(np.float64),
        "video_clock": np.rint(graphics * model.video_clock / model.clock_max),
        "performance_state": np.where(quick, 0.0, 8.0),
        "clock_event_reasons": reasons.astype(np.float64),
    }


def _traffic(node: SimNode, of: Load, durations: Integers) -> dict[str, Floats]:
    seconds = durations[:, None] / 1000
    pcie = of.pcie * _LANE * 2 ** (node.model.pcie_generation - 1) * 16 * seconds
    nvlink = of.nvlink * node.model.link_rate * node.model.nvlinks * seconds
    return {
        "pcie_tx_bytes": pcie * 0.6,
        "pcie_rx_bytes": pcie,
        "nvlink_tx_bytes": nvlink,
        "nvlink_rx_bytes": nvlink * 0.98,
    }


def _link(node: SimNode, times: Integers) -> dict[str, Floats]:
    awake = (load(node, times).processes > 0) | node.model.steady_clocks
    one = np.ones((1, node.count))
    return {
        "pcie_link_generation": np.where(awake, float(node.model.pcie_generation), 1.0),
        "pcie_link_width": one * 16,
        "nvlink_links_up": one * node.model.nvlinks,
    }


def _errors(node: SimNode, at: int) -> dict[str, Floats]:
    """Counters that only grow: few GPUs have memory that errs, each at its own pace."""
    nothing = np.zeros((1, node.count))
    weak = node.weakness[None, :]
    per_day = np.where(weak < 0.06, 600.0 * weak + 4.0, 0.0)
    life = np.floor((at - _BORN) / (86_400 * _SECOND) * per_day)
    recent = np.floor((at % (30 * 86_400 * _SECOND)) / (86_400 * _SECOND) * per_day)
    struck = _struck(node, at)
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
    }


def _struck(node: SimNode, at: int) -> Floats:
    struck = np.zeros((1, node.count))
    for fault in node.having(FaultKind.UNCORRECTED):
        struck[0, fault.gpu] += fault.active(at)
    return struck
