"""Reports wait for seconds in a server before they are stored: all that is shown, and all alerts, are late by as much.

**What to do.**

1. Is the database slow? On PostgreSQL `SELECT * FROM pg_stat_activity WHERE state <> 'active'` shows who holds locks;
   look at its disk (`iostat -x 1`), and at how long commits take (`gpufleet_ingest_commit_seconds_total`).
2. Is it only catching up? After an outage agents bring what they kept; live reports go first, it ends by itself.
3. Is it too much for one machine? Another server on the same database takes a part of the agents.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    server = sight.servers()
    waited, queued = (server.c.facts[name].as_float() for name in ("waited", "queued_reports"))
    told = sight.about(server, waited, queued.label("queued"))
    return told.where(server.c.seen <= server.c.limit_seen, waited >= server.c.limit_waited)


RULE = Rule(
    name="ingest_slow",
    severity=Severity.WARNING,
    scope=Scope.SERVER,
    condition=_condition,
    text="reports wait {value:.1f} s in {server} until they are stored; {queued:.0f} wait now",
    advice="Look at the database and its disk.",
    needs=Needs.NOTHING,
    wait=180,
    keep=60,
    thresholds={
        "waited": Threshold(3, "s", "An alert is to be out within 3 s, docs/benchmarks.md; commits take tens of ms."),
        "seen": Threshold(60, "s", "A server tells of itself every 15 s."),
    },
    labels={"category": "gpufleet"},
)
