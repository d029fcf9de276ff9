"""A server that worked on this store has not been seen for minutes, and did not end as it should.

Others go on with its work: agents try them in turn, and another one evaluates alerts. It is told by those that are
left; that the last one is gone only your own monitoring can tell (docs/alerts.md).

**What to do.** See what ended it: `journalctl -u gpufleet`, the kernel's log for its OOM killer, the pod's last state.
If it is not to come back there is nothing to do: the alert ends an hour after it was last seen, or as soon as another
process serves on its host.
"""

from typing import Any

from sqlalchemy import Select, select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    server, other = sight.servers(), sight.servers().alias("other")
    host, seen = server.c.facts["host"].as_string(), server.c.seen
    after = other.c.started_at > sight.at - seen * 1_000_000
    replaced = select(1).where(other.c.facts["host"].as_string() == host, after).exists()
    told = sight.about(server, seen, host.label("host"))
    return told.where(seen > server.c.limit_gone, seen < server.c.limit_counts, ~replaced)


RULE = Rule(
    name="server_gone",
    severity=Severity.WARNING,
    scope=Scope.SERVER,
    condition=_condition,
    text="{server} has not been seen for {value:.0f} s",
    advice="See what ended it; other servers go on with its work.",
    needs=Needs.NOTHING,
    every=60,
    thresholds={
        "gone": Threshold(120, "s", "A server tells of itself every 15 s; own choice, for one that is slow."),
        "counts": Threshold(3600, "s", "Own choice: an hour later it is known, or was meant."),
    },
    labels={"category": "gpufleet"},
    share=None,
)
