"""The driver's library does not fit its kernel module: the driver was updated, and not loaded again.

Programs that run go on; new ones fail with "Driver/library version mismatch", and so does nvidia-smi. Mostly it was
an unattended upgrade.

**What to do.**

1. Drain the node and reboot it. Where all programs have ended, `rmmod` of the nvidia modules and `modprobe nvidia` do.
2. Keep the driver's packages from being upgraded by themselves (`apt-mark hold`, `dnf versionlock`).
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.state import NodeState

# So the agent says it, with both versions (backends/nvidia/library.py), and NVML itself.
_SAID = ("%do not match%", "%version mismatch%")


def _condition(sight: Sight) -> Select[Any]:
    node = sight.nodes()
    module = node.c.facts["kernel_module_version"].as_string().label("module")
    said = node.c.driver_detail.like(_SAID[0]) | node.c.driver_detail.ilike(_SAID[1])
    told = sight.about(node, None, module, node.c.driver_detail)
    return told.where(node.c.state == NodeState.DRIVER_FAILED.value, said)


RULE = Rule(
    name="driver_mismatch",
    severity=Severity.CRITICAL,
    scope=Scope.NODE,
    condition=_condition,
    text="{hostname}, kernel module {module}: {driver_detail}",
    advice="Drain the node and reboot it; hold the driver's packages.",
    needs=Needs.REPORT,
    on_events=("driver_unresponsive", "driver_absent", "driver_failed", "driver_recovered"),
    keep=60,
    labels={"category": "driver"},
    source="NVML_ERROR_LIB_RM_VERSION_MISMATCH: no program can use the driver.",
)
