"""Reports of a node are lost for good: its spool was full or they grew too old, or the server refused them.

There is a gap in what is known of its GPUs; the alert says of which time, or why.

**What to do.**

* Dropped: why were they not sent in time? The node or the server was away for longer than `spool_age` or `spool_size`
  of the agent's settings allow: raise them where that happens.
* Refused: the report lies in `rejected/` of the agent's state folder with the reason. Mostly agent and server are of
  versions that are too far apart.
"""

from typing import Any

from sqlalchemy import Select, func

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    event = sight.events("spool_dropped", "report_rejected", within="counts")
    times = func.count().over(partition_by=(event.c.node_id, event.c.kind))
    return sight.about(event, times, event.c.message, key=event.c.kind).order_by(event.c.ts.desc())


RULE = Rule(
    name="reports_lost",
    severity=Severity.WARNING,
    scope=Scope.NODE,
    condition=_condition,
    text="{hostname}: {message}",
    advice="See why they were not sent in time, or not taken.",
    needs=Needs.NOTHING,
    every=60,
    on_events=("spool_dropped", "report_rejected"),
    thresholds={"counts": Threshold(3600, "s", "Our choice: an agent tells of what it drops every ten minutes.")},
    key_label="event",
    labels={"category": "gpufleet"},
)

PROMQL = "increase(gpufleet_agent_dropped_reports_total[${counts}s]) > 0"
