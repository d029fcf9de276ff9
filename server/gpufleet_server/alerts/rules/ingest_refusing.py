"""A server can't store what agents bring, or asks them to come again later: its database fails, or its queue is full.

Nothing is lost as long as the agents' spools last, but nothing new is known either: no alert on GPUs can fire.

Critical are commits that fail. Agents that are only asked to come later may be those that bring what they kept while
the server was away: that ends by itself.

**What to do.** The server's log has what the database answers. Look at its disk, its connections (`max_connections`),
its locks; after that at the load (`gpufleet_ingest_queued_reports`): the database takes less than comes.
"""

from typing import Any

from sqlalchemy import Select, case, func

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    server = sight.servers()
    failed, refused = (
        func.coalesce(server.c.facts[name].as_float(), 0.0) for name in ("failed_commits", "turned_away")
    )
    severity = case((failed > 0, Severity.CRITICAL.value), else_=Severity.WARNING.value)
    told = sight.about(server, failed, refused.label("refused"), severity.label("severity"))
    return told.where(server.c.seen <= server.c.limit_seen, failed + refused >= server.c.limit_times)


RULE = Rule(
    name="ingest_refusing",
    severity=Severity.WARNING,
    scope=Scope.SERVER,
    condition=_condition,
    text="{server} does not store what comes: {value:.0f} commits failed, {refused:.0f} reports were turned away",
    advice="Look at the server's log and at the database.",
    needs=Needs.NOTHING,
    wait=300,
    keep=120,
    thresholds={
        "times": Threshold(1, "times", "For five minutes on end: one is a lock or a restart of the database."),
        "seen": Threshold(60, "s", "A server tells of itself every 15 s."),
    },
    labels={"category": "gpufleet"},
)
