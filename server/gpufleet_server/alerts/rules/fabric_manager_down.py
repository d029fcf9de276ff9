"""The Fabric Manager of a node with NVSwitches does not run: programs that start now can't use its GPUs.

CUDA fails with error 802 (system not yet initialized) on every GPU of the node, while all of them look healthy.
Programs that already run go on.

**What to do.**

1. `systemctl status nvidia-fabricmanager` and `/var/log/fabricmanager.log`: it says why it ended.
2. Of another version than the driver's it does not start: install the one of exactly the driver's version.
3. Start it; programs may start as soon as `fabric_state` of the GPUs is 3. After a fault of a switch (SXID) reboot.

Where it is installed and there are no NVSwitches, nothing is told.
"""

from typing import Any

from sqlalchemy import Select, String, case, func, literal, or_, select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.state import NodeState


def _condition(sight: Sight) -> Select[Any]:
    node, gpu = sight.nodes(), sight.gpus()
    facts = {name: node.c.facts[name].as_string() for name in ("fabric_manager", "fabric_manager_version")}
    registers = sight.was("fabric_state", gpu.c.gpu_id, 0) >= 1
    has_links = gpu.c.identity["nvlink_count"].as_integer() >= gpu.c.limit_links
    of_fabric, linked = (
        select(func.count())
        .select_from(gpu)
        .where(gpu.c.node_id == node.c.node_id, so)
        .correlate(node)
        .scalar_subquery()
        for so in (registers, has_links)
    )
    version = func.coalesce(facts["fabric_manager_version"], literal("?", String()))
    told = sight.about(node, case((of_fabric > 0, of_fabric), else_=linked), version.label("version"))
    return told.where(
        facts["fabric_manager"] == "stopped",
        node.c.state == NodeState.REPORTING.value,
        or_(of_fabric > 0, linked >= node.c.limit_gpus),
    )


RULE = Rule(
    name="fabric_manager_down",
    severity=Severity.CRITICAL,
    scope=Scope.NODE,
    condition=_condition,
    text="the Fabric Manager ({version}) of {hostname} does not run; {value:.0f} GPUs need it",
    advice="systemctl status nvidia-fabricmanager; its version has to be the driver's.",
    needs=Needs.REPORT,
    every=60,
    wait=120,
    thresholds={
        "links": Threshold(12, "links", "A100 and newer boards with NVSwitches have 12 or 18 NVLinks a GPU."),
        "gpus": Threshold(8, "GPUs", "Boards with NVSwitches have 8 or 16 GPUs; four A100 are linked without."),
    },
    labels={"category": "fabric"},
    source="NVSentinel PR 891: a Fabric Manager was dead for 20 days while all GPUs were healthy.",
)
