"""A node reports, but its driver does not answer: absent, failed, or a call that never returns.

Health of its GPUs is not known while this fires; jobs on them hang or fail.

**What to do.**

1. `dmesg | grep -i -e nvrm -e xid`: an XID beside it says more.
2. `unresponsive`: a process is stuck in the driver (state D). Drain the node and reboot it; killing does not help.
3. `absent` or `failed` after an upgrade: module and library are of different versions. Reboot, or reload the module.

A node whose agent was told to pause is in maintenance, and not meant here.
"""

from typing import Any

from sqlalchemy import Float, Select, cast

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.state import NodeState


def _condition(sight: Sight) -> Select[Any]:
    node = sight.nodes()
    age = cast(node.c.last_seen - node.c.driver_since, Float(53)) / 1e6
    told = sight.about(node, age, node.c.driver_state, node.c.driver_detail)
    return told.where(node.c.state == NodeState.DRIVER_FAILED.value)


RULE = Rule(
    name="driver_unresponsive",
    severity=Severity.CRITICAL,
    scope=Scope.NODE,
    condition=_condition,
    text="the driver of {hostname} is {driver_state}: {driver_detail}",
    advice="Look at the kernel log for XIDs; drain and reboot the node if calls hang.",
    needs=Needs.REPORT,
    on_events=("driver_unresponsive", "driver_absent", "driver_failed", "driver_recovered"),
    held_by=("driver_mismatch",),
    keep=60,
    labels={"category": "driver"},
    source="The agent says so after 10 to 15 s without an answer: NVSentinel #1576, go-nvml #152, "
    "open-gpu-kernel-modules #1333 tell of calls that never return.",
)

PROMQL = "gpufleet_agent_driver_up == 0"
