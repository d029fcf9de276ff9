"""A GPU's hardware slows it down to half or less, because it is too hot.

It is what comes after the driver's own slowing down did not suffice; the next step is that it shuts itself off. Jobs
that have a part on this GPU run at its speed.

**What to do.**

1. Several GPUs of a node: its fans, filters, air flow, or the coolant. Several nodes of a rack: the room.
2. One GPU alone: its heat sink or cold plate, or a fan beside it; compare it with its neighbours
   (`gpufleet gpus --node NAME --sort gpu_temperature`).
3. Drain the node, if it lasts.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight

_BIT = 0x40


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed(
        "clock_event_reasons",
        "sm_clock",
        "gpu_temperature",
        where=lambda g: g.clock_event_reasons.bitwise_and(_BIT) == _BIT,
    )
    return sight.about(gpu, gpu.c.sm_clock, gpu.c.gpu_temperature)


RULE = Rule(
    name="thermal_slowdown",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) is slowed down by heat: {value:.0f} MHz at {gpu_temperature} °C",
    advice="Look at cooling: of the board if it is alone, of the node or rack if its neighbours are hot too.",
    needs=Needs.SAMPLE,
    wait=300,
    keep=300,
    held_by=("gpu_lost",),
    labels={"category": "cooling"},
    source="The nvidia_gpu_exporter chart: for 5 minutes, a warning. GPUd: in 0.6 of the minutes of ten.",
)

PROMQL = 'max without (reason) (gpufleet_gpu_clock_event_reasons{reason="hardware thermal slowdown"}) == 1'
