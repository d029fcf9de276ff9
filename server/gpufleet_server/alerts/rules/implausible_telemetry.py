"""What a GPU tells of itself can't be: multiprocessors idle at full power, or values that are out of any range.

After some faults (XID 31) the profiling counters stay at zero although kernels run. Means of the fleet leave such
values out; whoever is told by them to be idle is not.

**What to do.** Reset the GPU when its job has ended, or load the driver again. If it stays, compare the driver's
version with that of nodes that tell it right; values of another unit than they should be are a fault of driver or
firmware, to be told to the vendor.
"""

from typing import Any

from gpufleet_agent.catalogue import Reason
from sqlalchemy import ColumnElement, Select, and_, case, or_

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.seen import REASON
from gpufleet_server.alerts.sight import Sight

_METRICS = ("sm_active", "gpu_utilization", "power", "energy", "gpu_temperature", "fb_used", "sm_clock")
# Of its power limit: no GPU draws as much with its multiprocessors idle.
_FULL = 0.6


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed(
        *_METRICS,
        "power_limit",
        reasons=_METRICS,
        where=lambda g: or_(*(g[name + REASON] == Reason.IMPLAUSIBLE.value for name in _METRICS), _idle_at_work(g)),
    )
    wrong = case(*((gpu.c[name + REASON] == Reason.IMPLAUSIBLE.value, name) for name in _METRICS), else_="sm_active")
    return sight.about(gpu, gpu.c.power, wrong.label("metric"), gpu.c.power_limit)


def _idle_at_work(gpu: Any) -> ColumnElement[bool]:
    return and_(gpu.sm_active == 0, gpu.power > _FULL * gpu.power_limit, gpu.gpu_utilization >= gpu.limit_busy)


RULE = Rule(
    name="implausible_telemetry",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="what GPU {index} of {hostname} ({model}) tells as {metric} can't be, at {value:.0f} W of {power_limit:.0f} W",
    advice="Reset the GPU or load the driver again when its job has ended.",
    needs=Needs.SAMPLE,
    every=60,
    wait=600,
    keep=600,
    held_by=("gpu_lost",),
    thresholds={"busy": Threshold(99, "%", "DCGM #303: profiling fields at 0 while the utilization was 100 %.")},
    labels={"category": "telemetry"},
    source="DCGM #303; the agent's own checks.",
)

PROMQL = """
gpufleet_gpu_sm_active_ratio == 0
and gpufleet_gpu_utilization_ratio * 100 >= $busy
and gpufleet_gpu_power_watts > 0.6 * gpufleet_gpu_power_limit_watts
"""
