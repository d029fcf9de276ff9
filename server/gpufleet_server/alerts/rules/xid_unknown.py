"""The driver reported an XID for which no action is known: of a newer driver, or one that NVIDIA tells nothing of.

**What to do.** Look the code up in NVIDIA's current catalogue (docs.nvidia.com/deploy/xid-errors), and put what it says
into the file of changes of XIDs, so that it is told as what it is the next time. Until then treat it by its message,
and by what came with it.

The alert ends when the driver was loaded again, or a day after the last such XID.
"""

from typing import Any

from sqlalchemy import Select, func, select

from gpufleet_server.alerts.rule import Severity
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.alerts.xid_events import cured, known_xids, of_class
from gpufleet_server.domain.xids import Action


def _condition(sight: Sight) -> Select[Any]:
    event = sight.events("xid", within="counts")
    known = known_xids(sight, *(action for action in Action if action is not Action.UNKNOWN))
    many = func.count().over(partition_by=(event.c.gpu_id, event.c.node_id, event.c.code))
    message = func.coalesce(func.nullif(event.c.message, ""), "the driver says nothing more of it").label("message")
    told = sight.about(event, many, event.c.code, message, key=event.c.code)
    without_action = event.c.code.not_in(select(known.c.code))
    return told.where(without_action, ~cured(event.c)).order_by(event.c.ts.desc())


RULE = of_class(
    "xid_unknown",
    Action.UNKNOWN,
    Severity.WARNING,
    "Look the code up in NVIDIA's catalogue, and put what it says into the file of changes of XIDs.",
    condition=_condition,
    text="XID {code} on GPU {index} of {hostname} ({model}), for which no action is known: {message}",
    source="NVIDIA's XID catalogue of October 2025 has no action for 162 to 170, and newer codes are not in it.",
)
