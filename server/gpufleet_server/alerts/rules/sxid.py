"""An NVSwitch of a node reported an error (SXID): of a link, or of the switch itself.

The driver calls it fatal or not. After a fatal one jobs over NVLink on this node hang or fail.

**What to do.**

1. Fatal: drain the node; `journalctl -u nvidia-fabricmanager` says what Fabric Manager did. Reset all GPUs and switches
   of the node together, or reboot it. If it comes again, the message has the link: reseat or replace the board at its
   other end, or the baseboard.
2. Not fatal: nothing, if it is the only one. Look whether a GPU has NVLink errors or an XID 74 at the same time.

The alert ends when the driver was loaded again, or a day after the last such SXID.
"""

from typing import Any

from sqlalchemy import Select, case, func

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.alerts.xid_events import CURING, cured


def _condition(sight: Sight) -> Select[Any]:
    event = sight.events("sxid", within="counts")
    fatal = event.c.detail["fatal"].as_boolean()
    # A code that is fatal once is fatal; what the driver does not call by either name may be.
    severity = case(
        (fatal, Severity.CRITICAL.value), (fatal.is_(None), Severity.WARNING.value), else_=Severity.INFO.value
    )
    many = func.count().over(partition_by=(event.c.node_id, event.c.code))
    more = (event.c.code, event.c.message, event.c.detail["switch"].as_string().label("switch"))
    told = sight.about(event, many, *more, severity.label("severity"), key=event.c.code)
    worst = case((fatal, 0), (fatal.is_(None), 1), else_=2)
    return told.where(~cured(event.c)).order_by(worst, event.c.ts.desc())


RULE = Rule(
    name="sxid",
    severity=Severity.WARNING,
    scope=Scope.NODE,
    condition=_condition,
    text="SXID {code} of {switch} of {hostname}: {message}",
    advice="Fatal: drain the node, reset GPUs and switches together or reboot. Else nothing, if it is the only one.",
    needs=Needs.NOTHING,
    on_events=("sxid", *CURING),
    thresholds={"counts": Threshold(86_400, "s", "As for XIDs.")},
    key_label="sxid",
    labels={"category": "nvlink"},
    source="NVIDIA's Fabric Manager guide: fatal SXIDs ask for a reset of GPUs and switches, others are told for the "
    "record. The kernel log is the only source of them.",
)
