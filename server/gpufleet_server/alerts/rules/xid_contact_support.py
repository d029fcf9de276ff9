"""The driver reported an XID for which NVIDIA's only advice is its support: old codes, mostly, and rare ones.

**What to do.** `gpufleet xid CODE` tells what the code means. Keep the evidence before the node is rebooted
(`nvidia-bug-report.sh`, `dmesg`); then drain the GPU and reset it, and see whether it comes again. The vendor's support
wants the serial number, which the alert has.

The alert ends when the driver was loaded again, or a day after the last such XID.

Codes are put into classes by NVIDIA's catalogue; the file of changes of XIDs puts them into others.
"""

from gpufleet_server.alerts.promql import xids_seen
from gpufleet_server.alerts.rule import Severity
from gpufleet_server.alerts.xid_events import of_class
from gpufleet_server.domain.xids import Action

RULE = of_class(
    "xid_contact_support",
    Action.CONTACT_SUPPORT,
    Severity.WARNING,
    "Keep nvidia-bug-report.sh's output, and contact the vendor's support.",
)

PROMQL = xids_seen(Action.CONTACT_SUPPORT)
