"""A node's clock is seconds off the server's.

What its agent tells is corrected before it is stored; everything else on the node is not: logs, certificates, job
accounting, authentication of Slurm (munge refuses from five minutes on).

**What to do.** `chronyc tracking` or `timedatectl` on the node: is there a time server, can it be reached? Where many
nodes are off by the same, it is the server's own clock.
"""

from typing import Any

from sqlalchemy import Select, func

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.state import NodeState


def _condition(sight: Sight) -> Select[Any]:
    node = sight.nodes()
    off = func.abs(node.c.clock_offset)
    reports = node.c.state != NodeState.NOT_REPORTING.value
    return sight.about(node, off, node.c.clock_offset).where(reports, off >= node.c.limit_off)


RULE = Rule(
    name="clock_off",
    severity=Severity.WARNING,
    scope=Scope.NODE,
    condition=_condition,
    text="the clock of {hostname} is {value:.1f} s off the server's",
    advice="Look at its time service (chronyc tracking).",
    needs=Needs.REPORT,
    every=60,
    wait=600,
    keep=300,
    thresholds={"off": Threshold(5, "s", "What servers note as an event, docs/operating.md; NTP keeps within 0.1 s.")},
    labels={"category": "node"},
)
