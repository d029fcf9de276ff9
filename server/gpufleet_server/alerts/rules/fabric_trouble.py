"""Something ails a GPU's part of the NVLink fabric: degraded bandwidth, an unhealthy route, a wrong configuration.

Recoveries that are under way are not told unless they last.

**What to do.**

1. Degraded bandwidth: a link is down or slow; `nvlink_down` and `nvlink_errors` beside it say which.
2. Unhealthy route, no partition, fabric manager not connected: look at the fabric's manager (on racks that are one
   fabric, NMX or the global Fabric Manager), not at this node first. Several nodes of a rack at once: a switch tray.
3. Incorrect configuration: trays in wrong places or of versions that do not fit, after work on the rack mostly.
"""

from typing import Any

from sqlalchemy import Select, case

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.alerts.wording import flags

# Unhealthy route, incorrect configuration, no partition, no global fabric manager: programs can't use the fabric.
_GRAVE = 0x4 | 0x10 | 0x20 | 0x40


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed("fabric_trouble", where=lambda g: g.fabric_trouble > 0)
    trouble = gpu.c.fabric_trouble
    severity = case((trouble.bitwise_and(_GRAVE) > 0, Severity.CRITICAL.value), else_=Severity.WARNING.value)
    return sight.about(gpu, trouble, flags("fabric_trouble", trouble).label("words"), severity.label("severity"))


RULE = Rule(
    name="fabric_trouble",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="the NVLink fabric of GPU {index} of {hostname} ({model}): {words}",
    advice="Look for links that are down; of several nodes at once, at switches and the fabric's manager.",
    needs=Needs.SAMPLE,
    every=60,
    wait=300,
    held_by=("gpu_lost", "nvlink_down", "fabric_manager_down", "fabric_not_registered"),
    labels={"category": "nvlink"},
    source="NVML's health mask of the fabric. Five minutes are for recoveries; own choice.",
)

PROMQL = "max without (reason) (gpufleet_gpu_fabric_trouble) == 1"
