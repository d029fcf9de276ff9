"""The driver reported an XID after which NVIDIA asks for a reset of the GPU.

**What to do.** `gpufleet xid CODE` tells what the code means, what NVIDIA says to do now and if it comes again, and who
says otherwise. Drain the GPU and reset it, or reboot the node.

The alert ends when the driver was loaded again, or a day after the last such XID.

Codes are put into classes by NVIDIA's catalogue; the file of changes of XIDs puts them into others.
"""

from typing import Any

from gpufleet_agent.wire import XID_CONFIRMED
from sqlalchemy import Select

from gpufleet_server.alerts.promql import xids_seen
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.alerts.xid_events import CURING, xids
from gpufleet_server.domain.xids import Action


def _condition(sight: Sight) -> Select[Any]:
    return xids(sight, Action.RESET_GPU)


RULE = Rule(
    name="xid_reset_gpu",
    severity=Severity.CRITICAL,
    scope=Scope.GPU,
    condition=_condition,
    text="XID {code} on GPU {index} of {hostname} ({model}): {meaning}{opinions}",
    advice="Drain the GPU and reset it, or reboot the node.",
    needs=Needs.NOTHING,
    on_events=("xid", XID_CONFIRMED, *CURING),
    held_by=("gpu_lost",),
    thresholds={"counts": Threshold(86_400, "s", "NVSentinel counts the XIDs of a day together.")},
    key_label="xid",
    labels={"category": "xid"},
    source="NVIDIA's XID catalogue, by its immediate action.",
)

PROMQL = xids_seen(Action.RESET_GPU)
