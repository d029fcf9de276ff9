"""The node's hardware brakes a GPU: the power supply or the chassis asks for less.

The signal comes from outside of the GPU: a power supply that failed or was unplugged, a limit of the chassis or the
rack. All GPUs of the node mostly have it. Their clocks go down to a fraction.

**What to do.**

1. Look at the power supplies in the BMC: one that failed, lost its feed, or runs beyond its share.
2. Several nodes of a rack: the rack's power distribution, or a power limit that was set for the rack.
3. One GPU alone with no fault of power: its cable or seat; then the board.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight

_BIT = 0x80


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed(
        "clock_event_reasons",
        "sm_clock",
        where=lambda g: g.clock_event_reasons.bitwise_and(_BIT) == _BIT,
    )
    return sight.about(gpu, gpu.c.sm_clock)


RULE = Rule(
    name="power_brake",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) is slowed down by the power brake, to {value:.0f} MHz",
    advice="Look at the node's power supplies (BMC) and the rack's power.",
    needs=Needs.SAMPLE,
    wait=300,
    keep=300,
    held_by=("gpu_lost",),
    labels={"category": "power"},
    source="The nvidia_gpu_exporter chart: for 5 minutes, a warning. GPUd: in 0.6 of the minutes of ten.",
)

PROMQL = 'max without (reason) (gpufleet_gpu_clock_event_reasons{reason="hardware power brake slowdown"}) == 1'
