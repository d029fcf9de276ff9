"""A GPU's NVLinks have errors: replays, recoveries or CRC errors, more than a link has that was just trained.

Few of them slow jobs down; many, or recoveries that fail, end them.

**What to do.**

1. `nvidia-smi nvlink -e -i INDEX` shows which link. Errors on its other end too: the link or the switch between; on one
   end alone: this board.
2. Drain the node and reset its GPUs together (and switches, on boards that have them).
3. If they come again: reseat the board, the bridge or the cable; then have the board or baseboard replaced.
"""

from typing import Any

from sqlalchemy import Float, Select, case, cast, or_

from gpufleet_server.alerts.growth import changed_within, grown, summed
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight

_CRC = ("nvlink_crc_flit_errors", "nvlink_crc_data_errors", "nvlink_receive_errors")
_LEFT = ("nvlink_effective_errors", "nvlink_failed_recoveries")
_REPLAYS, _RECOVERIES = "nvlink_replay_errors", "nvlink_recovery_errors"
_ALL = (*_CRC, *_LEFT, _REPLAYS, _RECOVERIES)


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed(
        *_ALL, where=lambda g: or_(*((g[name] > 0) & changed_within(g, name, g.limit_window) for name in _ALL))
    )
    new = {name: grown(sight, gpu, name, gpu.c.limit_window) for name in _ALL}
    crc, left = (summed(*(new[name] for name in names)) for names in (_CRC, _LEFT))
    replays, recoveries = summed(new[_REPLAYS]), summed(new[_RECOVERIES])
    rate = cast(crc, Float(53)) / gpu.c.limit_window
    grave = or_(rate >= gpu.c.limit_crc_critical, left >= gpu.c.limit_left)
    severity = case((grave, Severity.CRITICAL.value), else_=Severity.WARNING.value)
    counts = {"crc": crc, "left": left, "replays": replays, "recoveries": recoveries, "severity": severity}
    some = or_(replays >= gpu.c.limit_replays, recoveries >= gpu.c.limit_recoveries, rate >= gpu.c.limit_crc, grave)
    return sight.about(gpu, rate, *(count.label(name) for name, count in counts.items())).where(some)


RULE = Rule(
    name="nvlink_errors",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="NVLinks of GPU {index} of {hostname} ({model}) in {limit_window:.0f} s: {replays} replays, {recoveries} "
    "recoveries, {crc} CRC errors, {left} not corrected",
    advice="See which link (nvidia-smi nvlink -e); reset the node's GPUs together; then board, bridge or cable.",
    needs=Needs.SAMPLE,
    every=60,
    keep=600,
    held_by=("gpu_lost", "nvlink_down"),
    thresholds={
        "window": Threshold(600, "s", "Own choice: agents read these counters about once a minute."),
        "replays": Threshold(1, "in window", "DCGM's health check fails at the first one."),
        "recoveries": Threshold(1, "in window", "DCGM's health check fails at the first one."),
        "crc": Threshold(1, "/s", "Own choice; DCGM warns of the first one, which also comes with training a link."),
        "crc_critical": Threshold(100, "/s", "DCGM's health check fails at 100 a second."),
        "left": Threshold(1, "in window", "What is left after correction, and recoveries that failed, cost data."),
    },
    labels={"category": "nvlink"},
)

PROMQL = """
increase(gpufleet_gpu_nvlink_replay_errors[${window}s]) >= $replays
or increase(gpufleet_gpu_nvlink_recovery_errors[${window}s]) >= $recoveries
or rate(gpufleet_gpu_nvlink_crc_flit_errors[${window}s]) >= $crc
or rate(gpufleet_gpu_nvlink_crc_data_errors[${window}s]) >= $crc
or rate(gpufleet_gpu_nvlink_receive_errors[${window}s]) >= $crc
or increase(gpufleet_gpu_nvlink_effective_errors[${window}s]) >= $left
or increase(gpufleet_gpu_nvlink_failed_recoveries[${window}s]) >= $left
"""
