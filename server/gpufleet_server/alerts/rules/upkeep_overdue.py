"""Upkeep of the store is behind: hours that are over are not sealed, and what is old not removed.

Samples are stored all the same, but in their first form, which takes several times the room; views of days and months
end where it stopped.

**What to do.** The log of the server that is elected says which step fails or how long it takes
(`gpufleet_upkeep_elected` is 1 there). Mostly the disk is too slow, somebody's query holds a lock for hours, or the
server was away for long and catches up.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    server = sight.servers()
    overdue = server.c.facts["sealing_overdue"].as_float()
    told = sight.about(server, overdue / 3600)
    return told.where(server.c.seen <= server.c.limit_seen, overdue >= server.c.limit_overdue)


RULE = Rule(
    name="upkeep_overdue",
    severity=Severity.WARNING,
    scope=Scope.SERVER,
    condition=_condition,
    text="hours that were over {value:.1f} h ago are not sealed yet by {server}",
    advice="The server's log says which step of upkeep fails.",
    needs=Needs.NOTHING,
    every=60,
    wait=900,
    thresholds={
        "overdue": Threshold(7200, "s", "Hours are sealed within minutes; what came late is allowed another two."),
        "seen": Threshold(60, "s", "A server tells of itself every 15 s."),
    },
    labels={"category": "gpufleet"},
)
