"""A GPU is within a few degrees of slowing itself down, by its own limits.

Its own margin is compared, not a temperature: what is hot for one model is usual for another.

**What to do.**

1. Several GPUs of one node: its fans, filters, air flow. Several nodes of a rack: the room, or the coolant.
2. One GPU alone: its heat sink or cold plate; compare it with its neighbours
   (`gpufleet gpus --node NAME --sort gpu_temperature`).
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed(
        "temperature_margin", "gpu_temperature", where=lambda g: g.temperature_margin <= g.limit_margin
    )
    return sight.about(gpu, gpu.c.temperature_margin, gpu.c.gpu_temperature)


RULE = Rule(
    name="hot_against_limits",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) is at {gpu_temperature} °C, {value} °C below where it slows down",
    advice="Look at cooling: of the board if it is alone, of the node or rack if its neighbours are hot too.",
    needs=Needs.SAMPLE,
    wait=300,
    keep=300,
    held_by=("thermal_slowdown",),
    thresholds={"margin": Threshold(2, "°C", "NVSentinel alarms 2 °C (B200: 3 °C) past the limit, GPUd at it.")},
    labels={"category": "cooling"},
)

PROMQL = "gpufleet_gpu_temperature_margin_celsius <= $margin"
