"""A node runs another driver than nearly all nodes of its site with the same GPUs, and has for a day.

It was away when the others were upgraded, its upgrade failed, or it was tried on it and forgotten. Jobs over nodes with
different drivers fail in ways that are hard to understand.

**What to do.** Bring it to the driver of the others. For nodes that are meant to differ silence the alert, or give them
a site of their own. While an upgrade goes through the fleet nothing is told for a day, nor while both are frequent.
"""

from typing import Any

from sqlalchemy import Select, func, select

from gpufleet_server.alerts import peers
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.state import NodeState


def _condition(sight: Sight) -> Select[Any]:
    node, gpu = sight.nodes(), sight.gpus()
    of_gpus = (
        select(gpu.c.node_id, func.min(gpu.c.model).label("model"))
        .where(gpu.c.model.is_not(None))
        .group_by(gpu.c.node_id)
        .subquery("of_gpus")
    )
    each = (
        select(*sight.about(node, None).selected_columns, of_gpus.c.model)
        .add_columns(node.c.driver_version.label("driver"))
        .join_from(node, of_gpus, of_gpus.c.node_id == node.c.node_id)
        .where(node.c.state == NodeState.REPORTING.value)
        .subquery("each")
    )
    beside = peers.beside_the_usual(each, each.c.driver)
    told = (beside.c[name] for name in ("own", "usual", "most", "peers"))
    return sight.about(beside, beside.c.most, *told).where(peers.differs(beside.c))


RULE = Rule(
    name="driver_drift",
    severity=Severity.INFO,
    scope=Scope.NODE,
    condition=_condition,
    text="{hostname} runs driver {own}; {most} of {peers} nodes of {site} with {model} run {usual}",
    advice="Upgrade its driver, or silence the alert where it is meant to differ.",
    needs=Needs.DRIVER,
    every=900,
    wait=86_400,
    thresholds={
        "share": Threshold(90, "%", "Our choice: the others are nearly all alike, and an upgrade is nearly done."),
        "peers": Threshold(10, "nodes", "Our choice: with fewer, one is a tenth of them."),
    },
    labels={"category": "drift"},
    source="GCM checks versions against those that are set; here the fleet itself tells them. A rollout takes a day.",
)
