"""A node has been in maintenance for more than a day: its agent was told to let go of the driver, and not to go on.

Nothing is known of its GPUs meanwhile, and nobody is told of what goes wrong with them.

**What to do.** Ask whoever paused it: the alert says what they said. `gpufleet-agent resume` on the node ends it.
"""

from typing import Any

from sqlalchemy import Float, Select, cast

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.state import NodeState


def _condition(sight: Sight) -> Select[Any]:
    node = sight.nodes()
    hours = cast(node.c.last_seen - node.c.driver_since, Float(53)) / 3.6e9
    told = sight.about(node, hours, node.c.driver_detail)
    return told.where(node.c.state == NodeState.IN_MAINTENANCE.value, hours * 3600 >= node.c.limit_longest)


RULE = Rule(
    name="maintenance_too_long",
    severity=Severity.INFO,
    scope=Scope.NODE,
    condition=_condition,
    text="{hostname} has been in maintenance for {value:.0f} h: {driver_detail}",
    advice="Ask who paused it; gpufleet-agent resume ends it.",
    needs=Needs.REPORT,
    every=300,
    thresholds={"longest": Threshold(86_400, "s", "Our choice: work on one node that takes longer has a plan.")},
    labels={"category": "maintenance"},
)

PROMQL = "min_over_time(gpufleet_agent_paused[${longest}s]) == 1 and gpufleet_agent_paused offset ${longest}s == 1"
