"""PostgreSQL's partitions of the hours to come are not being made: soon all samples fall into the one for the rest.

That one is not dropped with its hour: the store grows, and to mend it takes a lock over all of it.

**What to do.** The server's log has why (`partitions`): mostly a lock that a long query or an open transaction
holds, or a role that may not create tables. It tries again every ten minutes.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    server = sight.servers()
    ahead = server.c.facts["partitions_ahead"].as_float()
    told = sight.about(server, ahead / 3600)
    return told.where(server.c.seen <= server.c.limit_seen, ahead < server.c.limit_ahead)


RULE = Rule(
    name="partitions_not_ahead",
    severity=Severity.CRITICAL,
    scope=Scope.SERVER,
    condition=_condition,
    text="partitions are made for {value:.1f} h from now, as {server} sees it",
    advice="See what keeps the server from making them: a lock, or a role that may not.",
    needs=Needs.NOTHING,
    every=60,
    wait=300,
    thresholds={
        "ahead": Threshold(3 * 3600, "s", "Six hours are made ahead (store/partitions.py); three leave time to act."),
        "seen": Threshold(60, "s", "A server tells of itself every 15 s."),
    },
    labels={"category": "gpufleet"},
)
