"""The disk with the store is nearly full. Once it is, nothing is stored any more.

**What to do.** Keep less (`--keep-samples` and its like, docs/operating.md), or give it a larger disk. `gpufleet db
stats` says what takes the room. What retention removes makes room within SQLite's file; the file stays as large.

Only servers on SQLite tell it: PostgreSQL does not say how full its disk is; watch that with what watches its machine.
"""

from typing import Any

from sqlalchemy import Select, case

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    server = sight.servers()
    free = server.c.facts["disk_free"].as_float()
    severity = case((free < server.c.limit_nothing, Severity.CRITICAL.value), else_=Severity.WARNING.value)
    told = sight.about(server, free, severity.label("severity"))
    return told.where(server.c.seen <= server.c.limit_seen, free < server.c.limit_free)


RULE = Rule(
    name="disk_nearly_full",
    severity=Severity.WARNING,
    scope=Scope.SERVER,
    condition=_condition,
    text="the disk with the store of {server} has {value:.1f} % left",
    advice="Keep less, or give it a larger disk.",
    needs=Needs.NOTHING,
    every=60,
    wait=300,
    keep=300,
    thresholds={
        "free": Threshold(10, "%", "What the usual alerts on disks of machines take."),
        "nothing": Threshold(3, "%", "From here on it is critical."),
        "seen": Threshold(60, "s", "A server tells of itself every 15 s."),
    },
    labels={"category": "gpufleet"},
)
