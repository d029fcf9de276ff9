"""The driver reported an XID for which NVIDIA has steps of its own to follow: memory errors, NVLink, and others.

Each code has its severity: 48 (an uncorrectable memory error) and 74 (NVLink) are critical, 45 follows another XID or
the end of a program.

**What to do.** `gpufleet xid CODE` names the steps and who says otherwise.

1. 48, 171, 172: see whether 63, 64, 94 or 95 came with it, and do what those ask for; drain and reset the GPU, which
   remaps the row.
2. 74 and 144 to 150: look at the same link on the other side, and at the switch (`sxid`); reset the GPUs of the node;
   if it comes again, reseat or replace board, baseboard or cable.
3. 154 tells only that what the driver asks for has changed: see `recovery_action`.
4. 45 alone and often: restart Fabric Manager.

The alert ends when the driver was loaded again, or a day after the last such XID.

Codes are put into classes by NVIDIA's catalogue; the file of changes of XIDs puts them into others.
"""

from gpufleet_server.alerts.promql import xids_seen
from gpufleet_server.alerts.rule import Severity
from gpufleet_server.alerts.xid_events import of_class
from gpufleet_server.domain.xids import Action

RULE = of_class(
    "xid_workflow",
    Action.WORKFLOW,
    Severity.WARNING,
    "Follow NVIDIA's steps for this XID: gpufleet xid CODE.",
)

PROMQL = xids_seen(Action.WORKFLOW)
