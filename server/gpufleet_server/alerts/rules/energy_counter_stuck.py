"""A GPU's energy counter does not move although the GPU draws power.

Energy and cost of its jobs come out too low from then on; power is taken from the sensor instead, which is less exact.

**What to do.** Reset the GPU or load the driver again when its job has ended. If it stays so, it is a fault of driver
or firmware: compare both with those of nodes that count, and tell the vendor.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed("energy", "power", where=lambda g: (g.energy == 0) & (g.power > g.limit_power))
    return sight.about(gpu, gpu.c.power)


RULE = Rule(
    name="energy_counter_stuck",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="the energy counter of GPU {index} of {hostname} ({model}) stands still at {value:.0f} W",
    advice="Reset the GPU or load the driver again when its job has ended.",
    needs=Needs.SAMPLE,
    every=60,
    wait=300,
    keep=300,
    held_by=("gpu_lost",),
    thresholds={"power": Threshold(10, "W", "Own choice: what any GPU draws that is on.")},
    labels={"category": "telemetry"},
    source="SC24: prefer the energy counter to the power sensor, which samples a quarter of the time on A100 and H100.",
)

PROMQL = "increase(gpufleet_gpu_energy_joules_total[10m]) == 0 and gpufleet_gpu_power_watts > $power"
