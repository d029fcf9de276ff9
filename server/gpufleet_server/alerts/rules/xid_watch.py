"""An XID after which there is nothing to do, but that announces worse.

Of the codes that NVIDIA's catalogue would have ignored these are told: 92 (many corrected errors announce uncorrectable
ones) and 157 (what was to be retired is still in use), and those that the file of changes gives a severity above info.

**What to do.** Look at the GPU's memory (`gpufleet gpu`: ECC errors, remapped rows). If it comes again and again,
plan the board's replacement.

The alert ends when the driver was loaded again, or a day after the last such XID.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Severity
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.alerts.xid_events import of_class, xids
from gpufleet_server.domain.xids import Action


def _condition(sight: Sight) -> Select[Any]:
    return xids(sight, Action.IGNORE, least=Severity.WARNING)


RULE = of_class(
    "xid_watch",
    Action.IGNORE,
    Severity.WARNING,
    "Look at the GPU's ECC errors and remapped rows.",
    condition=_condition,
    source="This project's additions to NVIDIA's catalogue, each with its reason: gpufleet xid CODE.",
)
