"""The driver reported an XID after which NVIDIA asks for a look at the board: power, cables, seat.

54: the board's auxiliary power is not connected, or not enough.

**What to do.** Drain the node, power it off, and check the GPU's power cables, its seat and the power supplies. The XID
comes again at the next load of the driver where that was of no use: then have the board inspected.

The alert ends when the driver was loaded again, or a day after the last such XID.

Codes are put into classes by NVIDIA's catalogue; the file of changes of XIDs puts them into others.
"""

from gpufleet_server.alerts.promql import xids_seen
from gpufleet_server.alerts.rule import Severity
from gpufleet_server.alerts.xid_events import of_class
from gpufleet_server.domain.xids import Action

RULE = of_class(
    "xid_inspect",
    Action.INSPECT,
    Severity.WARNING,
    "Look at the board: its power, cables and seat.",
)

PROMQL = xids_seen(Action.INSPECT)
