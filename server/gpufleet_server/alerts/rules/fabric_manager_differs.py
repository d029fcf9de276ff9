"""The Fabric Manager that is installed is of another version than the driver: it will not start again.

NVIDIA asks for exactly the same version. It goes on while it runs; at its next start, such as after a reboot, no
program can use the GPUs of the node.

**What to do.** Install the version that the driver has (`nvidia-fabricmanager-<branch>`), and hold both packages at the
same version. After an update of both that waits for a reboot, the driver that is loaded is the older one: reboot.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.state import NodeState


def _condition(sight: Sight) -> Select[Any]:
    node = sight.nodes()
    manager, driver = (node.c.facts[name].as_string() for name in ("fabric_manager_version", "driver_version"))
    told = sight.about(node, None, manager.label("manager"), driver.label("driver"))
    runs = node.c.facts["fabric_manager"].as_string() == "running"
    return told.where(runs, manager != driver, node.c.state == NodeState.REPORTING.value)


RULE = Rule(
    name="fabric_manager_differs",
    severity=Severity.WARNING,
    scope=Scope.NODE,
    condition=_condition,
    text="{hostname} has Fabric Manager {manager} and driver {driver}: they must be the same",
    advice="Install the Fabric Manager of the driver's version before the node is rebooted.",
    needs=Needs.REPORT,
    every=300,
    wait=3600,
    held_by=("fabric_manager_down",),
    labels={"category": "fabric"},
    source="NVIDIA's Fabric Manager guide: its version must match the driver's. An hour, for updates in several steps.",
)
