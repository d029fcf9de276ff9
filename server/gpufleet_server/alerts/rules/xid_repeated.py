"""The same XID came again and again on one GPU within a day: it is not by chance.

XIDs that come within three minutes of one another count as one.

**What to do.**

1. A code of programs (13, 31, 43 …): always the same job, and its owner's matter? Or different ones, on this GPU only?
   Then it is the board: drain it, and run its diagnosis (`dcgmi diag -r 3`).
2. Any other code: drain the node, do what `gpufleet xid CODE` says, and have the board inspected if it comes again.

The alert ends a day after the GPU had too many of them.
"""

from typing import Any

from sqlalchemy import Select, case, func, select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import OF_GPU, OF_NODE, Sight
from gpufleet_server.alerts.xid_events import known_xids
from gpufleet_server.domain.xids import Action

# What follows another XID, or tells of it.
_FOLLOWERS = (45, 154)
_ACTIONS = [action for action in Action if action is not Action.IGNORE]


def _condition(sight: Sight) -> Select[Any]:
    event, known = sight.events("xid", within="counts"), known_xids(sight, *_ACTIONS)
    before = func.lag(event.c.ts).over(partition_by=(event.c.gpu_id, event.c.code), order_by=event.c.ts)
    limits = [event.c[f"limit_{name}"] for name in ("times", "programs", "burst")]
    of_code = (*(event.c[name] for name in (*OF_NODE, *OF_GPU, "code")), *limits)
    each = select(*of_code, event.c.ts, before.label("before")).where(event.c.gpu_id.is_not(None)).subquery("each")
    c = each.c
    begins = case((c.before.is_(None), 1), (c.ts - c.before > c.limit_burst * 1_000_000, 1), else_=0)
    names = (*OF_NODE, *OF_GPU, "code", *(limit.name for limit in limits))
    counted = select(*(c[name] for name in names), func.sum(begins).label("bursts"))
    of = counted.group_by(*(c[name] for name in names)).subquery("xid_count")
    of_programs = known.c.action == Action.RESTART_APP.text
    return (
        sight.about(of, of.c.bursts, of.c.code, known.c.meaning, known.c.action, key=of.c.code)
        .join_from(of, known, known.c.code == of.c.code)
        .where(of.c.bursts >= case((of_programs, of.c.limit_programs), else_=of.c.limit_times))
        .where(of.c.code.not_in(_FOLLOWERS))
    )


RULE = Rule(
    name="xid_repeated",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="XID {code} came {value:.0f} times in a day on GPU {index} of {hostname} ({model}): {meaning}",
    advice="Several jobs, and this GPU only: drain, diagnose and inspect it. One job: its owner's matter.",
    needs=Needs.NOTHING,
    every=60,
    on_events=("xid",),
    held_by=("xids_across_node",),
    thresholds={
        "times": Threshold(5, "times", "NVSentinel: the same fatal XID five times in 24 hours."),
        "programs": Threshold(
            10, "times", "Of programs' codes, for somebody who seeks a fault runs into it often; NVSentinel: 31 twice."
        ),
        "counts": Threshold(86_400, "s", "NVSentinel counts the XIDs of a day together."),
        "burst": Threshold(180, "s", "NVSentinel takes XIDs within 3 minutes for one."),
    },
    key_label="xid",
    labels={"category": "xid"},
)
