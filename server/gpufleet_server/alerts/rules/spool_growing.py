"""Reports wait on a node for longer than they should: its agent reaches the server, and not all that it has does.

A spool that fills while the server is away is emptied within minutes afterwards. One that stays full means that the
server takes less than the agent makes: the line is too slow, the server turns it away, or refuses what it sends.

**What to do.** `journalctl -u gpufleet-agent -n 50` says what the server answers. Where many nodes are concerned look
at the server (`ingest_slow`, `ingest_refusing`). The spool holds what its settings say; then the oldest go.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.state import NodeState


def _condition(sight: Sight) -> Select[Any]:
    node = sight.nodes()
    told = sight.about(node, node.c.backlog_reports, (node.c.backlog_bytes / 1048576.0).label("size"))
    reports = node.c.state != NodeState.NOT_REPORTING.value
    return told.where(reports, node.c.backlog_reports >= node.c.limit_reports)


RULE = Rule(
    name="spool_growing",
    severity=Severity.WARNING,
    scope=Scope.NODE,
    condition=_condition,
    text="{value:.0f} reports ({size:.1f} MiB) wait on {hostname}",
    advice="See what the server answers it: journalctl -u gpufleet-agent.",
    needs=Needs.REPORT,
    every=60,
    wait=900,
    keep=60,
    thresholds={
        "reports": Threshold(60, "reports", "Ten minutes of them; a day's are sent within a quarter of an hour.")
    },
    labels={"category": "gpufleet"},
)

PROMQL = "gpufleet_agent_spool_reports >= $reports"
