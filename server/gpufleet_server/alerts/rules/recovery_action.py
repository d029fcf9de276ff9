"""The driver asks for something to be done to make a GPU usable again: a reset, a reboot, or that it be drained.

It is the driver's own verdict after an error. New jobs on this GPU fail, or may.

**What to do.** Drain the node, and do what the alert says. An XID beside it (`gpufleet events`) says what happened;
where an XID's alert says the same, this one is held back. The alert ends when the driver asks for nothing more.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.alerts.wording import level

_WORDS = {
    1: "a reset of the GPU",
    2: "a reboot of the node",
    3: "that jobs on GPUs linked to it be drained",
    4: "that it be drained and reset",
    5: "a recovery of the IMEX domain",
    6: "a reset of the bus",
    7: "a reboot of the system",
}


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed("recovery_action", where=lambda g: g.recovery_action > 0)
    return sight.about(gpu, gpu.c.recovery_action, level(gpu.c.recovery_action, _WORDS).label("asked"))


RULE = Rule(
    name="recovery_action",
    severity=Severity.CRITICAL,
    scope=Scope.GPU,
    condition=_condition,
    text="the driver asks for {asked}: GPU {index} of {hostname} ({model})",
    advice="Drain the node, and do what the driver asks for.",
    needs=Needs.SAMPLE,
    every=60,
    on_events=("gpu_recovery_action",),
    held_by=("gpu_lost", "xid_reset_gpu", "xid_reboot_node"),
    labels={"category": "hardware"},
    source="The nvidia_gpu_exporter chart: anything but none is critical. NVML field 230.",
)

PROMQL = "gpufleet_gpu_recovery_action > 0"
