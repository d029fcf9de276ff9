"""The driver reported an XID that ended a program, mostly by the program's own fault.

13, 31, 43 and 69 are what wrong kernels and wrong pointers look like; 94 is a memory error that cost one program only,
and is a warning.

**What to do.**

1. Nothing, for a single one: tell the job's owner (`gpufleet gpu` shows who had the GPU), and restart the job.
2. The same program elsewhere without it, and other programs here with it: it is the board. `xid_repeated` tells of
   that, `xids_across_node` of several GPUs at once.
3. 94: a row of memory was put out of use; the GPU is to be reset when its jobs have ended (`remap_pending`).

The alert ends when the driver was loaded again, or an hour after the last such XID.

Codes are put into classes by NVIDIA's catalogue; the file of changes of XIDs puts them into others.
"""

from gpufleet_server.alerts.promql import xids_seen
from gpufleet_server.alerts.rule import Severity, Threshold
from gpufleet_server.alerts.xid_events import of_class
from gpufleet_server.domain.xids import Action

RULE = of_class(
    "xid_restart_app",
    Action.RESTART_APP,
    Severity.INFO,
    "Tell the job's owner; nothing else, if it is the only one.",
    held_by=("gpu_lost", "xids_across_node"),
    thresholds={"counts": Threshold(3600, "s", "A program that ended is nobody's matter an hour later; own choice.")},
)

PROMQL = xids_seen(Action.RESTART_APP)
