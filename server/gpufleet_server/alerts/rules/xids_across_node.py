"""Several GPUs of one node had the same XID together: it is what they share, not a board.

For codes of programs (13, 31, 43 …) that is the program that runs on all of them, or its libraries; for codes of the
driver (119, 120) the driver or its firmware; for 79 what they are plugged into: a PCIe switch, a riser, a power supply.

**What to do.**

1. One job on these GPUs: tell its owner (`gpufleet gpus --node NAME`). The single alerts of programs are held back.
2. Several nodes of one driver version: the driver, and its release notes.
3. 79 or 62 on half of a node: PCIe switch or power. Power the node off and on; then its vendor.
"""

from typing import Any

from sqlalchemy import Select, case, func, select

from gpufleet_server.alerts.promql import xids_seen
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import OF_NODE, Sight
from gpufleet_server.alerts.xid_events import CURING, cured, known_xids
from gpufleet_server.domain.xids import Action


def _condition(sight: Sight) -> Select[Any]:
    event = sight.events("xid", within="counts")
    known = known_xids(sight, Action.RESTART_APP, Action.RESET_GPU, Action.REBOOT_NODE)
    names = (*OF_NODE, "code")
    counted = select(
        *(event.c[name] for name in names),
        func.max(event.c.limit_gpus).label("limit_gpus"),
        func.count(event.c.gpu_id.distinct()).label("gpus"),
    ).where(~cured(event.c))
    of = counted.group_by(*(event.c[name] for name in names)).subquery("node_xid")
    # Of programs each single one is of no matter; that it is none of the hardware's is worth to know.
    severity = case((known.c.severity == Severity.CRITICAL.value, known.c.severity), else_=Severity.WARNING.value)
    told = sight.about(of, of.c.gpus, of.c.code, known.c.meaning, severity.label("severity"), key=of.c.code)
    return told.join_from(of, known, known.c.code == of.c.code).where(of.c.gpus >= of.c.limit_gpus)


RULE = Rule(
    name="xids_across_node",
    severity=Severity.WARNING,
    scope=Scope.NODE,
    condition=_condition,
    text="XID {code} on {value:.0f} GPUs of {hostname} within an hour: {meaning}",
    advice="Look at what the GPUs share: the program, the driver, a PCIe switch, power; not at single boards.",
    needs=Needs.NOTHING,
    every=60,
    on_events=("xid", *CURING),
    # So long as the single ones are told.
    keep=3600,
    thresholds={
        "gpus": Threshold(2, "GPUs", "NVSentinel: XID 31 on two GPUs or more is the software."),
        "counts": Threshold(3600, "s", "Own choice: what has one cause comes within an hour (NVSentinel: a day)."),
    },
    key_label="xid",
    labels={"category": "xid"},
    source="NVSentinel.",
)

_SEEN = xids_seen(Action.RESTART_APP, Action.RESET_GPU, Action.REBOOT_NODE, within="1h")
PROMQL = f"count by (instance, job, xid) ({_SEEN}) >= $gpus"
