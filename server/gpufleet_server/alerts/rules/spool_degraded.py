"""A node's agent can't keep reports on its disk: they are in memory only, and lost if it ends now.

The disk is full, or can only be read, or a file of an earlier run is damaged; the alert says what the system answered.

**What to do.** `df -h` and `df -i` for the agent's state folder (`/var/lib/gpufleet-agent`); `dmesg` for a disk that
fails. The agent goes on by itself as soon as the disk takes its files again.
"""

from typing import Any

from sqlalchemy import Select, select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    event = sight.events("spool_degraded", within="counts")
    well = sight.events("spool_recovered", within="counts").alias("well")
    since = select(1).where(well.c.node_id == event.c.node_id, well.c.ts >= event.c.ts)
    return sight.about(event, None, event.c.message).where(~since.exists()).order_by(event.c.ts.desc())


RULE = Rule(
    name="spool_degraded",
    severity=Severity.WARNING,
    scope=Scope.NODE,
    condition=_condition,
    text="{hostname} can't keep reports on its disk: {message}",
    advice="Look at the disk of the agent's state folder.",
    needs=Needs.NOTHING,
    every=60,
    on_events=("spool_degraded", "spool_recovered"),
    thresholds={
        "counts": Threshold(86_400, "s", "Our choice: an agent that was ended meanwhile does not tell of its end.")
    },
    labels={"category": "gpufleet"},
)
