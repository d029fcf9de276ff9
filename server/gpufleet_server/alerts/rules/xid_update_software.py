"""The driver reported an XID after which NVIDIA asks for versions that fit: driver, firmware, host.

78: a virtual GPU could not be started, because its guest's driver and its host's do not fit.

**What to do.** Compare the driver with the host's and with NVIDIA's table of versions that go together, and update the
older one. `gpufleet gpu` shows driver, VBIOS and firmware of a GPU.

The alert ends when the driver was loaded again, or a day after the last such XID.

Codes are put into classes by NVIDIA's catalogue; the file of changes of XIDs puts them into others.
"""

from gpufleet_server.alerts.promql import xids_seen
from gpufleet_server.alerts.rule import Severity
from gpufleet_server.alerts.xid_events import of_class
from gpufleet_server.domain.xids import Action

RULE = of_class(
    "xid_update_software",
    Action.UPDATE_SOFTWARE,
    Severity.WARNING,
    "Bring driver, firmware and, on virtual machines, the host to versions that fit.",
)

PROMQL = xids_seen(Action.UPDATE_SOFTWARE)
