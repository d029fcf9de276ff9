"""A node's agent has sent nothing for a while: nothing is known of its GPUs.

**What it may be.** The machine is down or unreachable; the agent is stopped, or hangs; its credential was revoked.

**What to do.**

1. `ssh` to it, or look at its console through the BMC. If it is down, that is the matter to follow.
2. `systemctl status gpufleet-agent` and `journalctl -u gpufleet-agent -n 50`: the agent says why it can't send.
3. `gpufleet-agent check` on the node tells what it can and cannot reach.

Samples and events wait in the agent's spool meanwhile and come when it is back.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    node = sight.nodes()
    return sight.about(node, node.c.silence).where(node.c.silent)


RULE = Rule(
    name="node_not_reporting",
    severity=Severity.WARNING,
    scope=Scope.NODE,
    condition=_condition,
    text="{hostname} has sent nothing for {value:.0f} s",
    advice="Is the machine up? If so, look at its agent: systemctl status gpufleet-agent.",
    needs=Needs.REPORT,
    wait=60,
    held_by=("rack_not_reporting",),
    labels={"category": "availability"},
    source="Three reports that did not come (docs/operating.md, States), and a minute for those that are late.",
)

# Whoever scrapes agents knows it by the scrape; which targets are agents, by what they showed before.
PROMQL = "up == 0 and on (instance, job) last_over_time(gpufleet_agent_build_info[1d])"
