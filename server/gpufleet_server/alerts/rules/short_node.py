"""A node shows fewer GPUs than it had: the driver does not list one any more.

A GPU that fell off the bus is listed as lost at first; after a reboot, or when the agent starts again, it is not listed
at all. One that was put into another node, or in whose place a new one came, is not missing.

**What to do.**

1. `lspci -d 10de:` on the node. Where the GPU is not there either, power the machine off and on; still not there:
   reseat the board, look at its power cables, have it replaced. The alert has its serial.
2. It is there: `dmesg | grep -i nvrm` says why the driver does not take it (firmware, BAR space, `RmInitAdapter`).
3. It was taken out, or given to a virtual machine, on purpose: acknowledge the alert, it ends by itself after a week.
"""

from typing import Any

from sqlalchemy import Select, and_, func, select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.state import NodeState


def _condition(sight: Sight) -> Select[Any]:
    node, gone, here = sight.nodes(), sight.removed("remembers"), sight.gpus()
    left = (
        select(gone.c.node_id, func.count().label("left"), func.min(gone.c.removed_at).label("since"))
        .add_columns(func.min(gone.c.serial).label("gone_serial"))
        .group_by(gone.c.node_id)
        .subquery("left")
    )
    mine = here.c.node_id == left.c.node_id
    new = select(func.count()).where(mine, here.c.first_seen >= left.c.since).scalar_subquery()
    there = select(func.count()).where(here.c.node_id == node.c.node_id).scalar_subquery()
    missing = left.c.left - new
    told = sight.about(node, missing, there.label("there"), left.c.gone_serial)
    joined = told.join_from(node, left, left.c.node_id == node.c.node_id)
    return joined.where(and_(missing > 0, node.c.state == NodeState.REPORTING.value))


RULE = Rule(
    name="short_node",
    severity=Severity.WARNING,
    scope=Scope.NODE,
    condition=_condition,
    text="{hostname} shows {there} GPUs, {value:.0f} fewer than it had (serial {gone_serial})",
    advice="Look for it on the PCI bus; power the machine off and on; have the board looked at.",
    needs=Needs.DRIVER,
    every=60,
    on_events=("gpu_removed", "gpu_added"),
    thresholds={
        "remembers": Threshold(
            7 * 86_400, "s", "nvidia_gpu_exporter holds the count against the most of 6 h; a repair takes days."
        ),
    },
    labels={"category": "hardware"},
    source="dcgm-exporter #348: a missing GPU is the first alert. GPUd, GCM: the count is not the one expected.",
)

# Without the driver there is no count, which is not a count of none.
PROMQL = """
max_over_time((count by (instance, job) (gpufleet_gpu_lost))[${remembers}s:5m])
  > on (instance, job) count by (instance, job) (gpufleet_gpu_lost)
and on (instance, job) gpufleet_agent_driver_up == 1
"""
