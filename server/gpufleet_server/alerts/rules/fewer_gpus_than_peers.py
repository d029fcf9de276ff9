"""A node has fewer GPUs than nearly all other machines of the same model, and has had them since it was first seen.

What a node once had and lost is told by `short_node`; this finds the machine that came so: a board that was not seated,
a slot or a switch that is off in the firmware, a driver that does not take one of them.

**What to do.** Compare `lspci -d 10de:` with a machine that has them all. Where the machine was bought with fewer, say
so in the file of overrides (`enabled = false` for its site), or silence the alert for it.

Alike are machines of one site, of the same vendor and product as their firmware has them, with the same GPUs. Where
virtual machines of all sizes bear the same product name no number is usual, and nothing is told.
"""

from typing import Any

from sqlalchemy import Select, func, select

from gpufleet_server.alerts import peers
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.state import NodeState


def _condition(sight: Sight) -> Select[Any]:
    node, gpu = sight.nodes(), sight.gpus()
    counted = (
        select(gpu.c.node_id, func.min(gpu.c.model).label("model"), func.count().label("gpus"))
        .group_by(gpu.c.node_id)
        .subquery("counted")
    )
    product, vendor = (node.c.facts[name].as_string() for name in ("dmi_product", "dmi_vendor"))
    each = (
        select(*sight.about(node, None).selected_columns, counted.c.gpus, counted.c.model)
        .add_columns(product.label("product"), vendor.label("vendor"))
        .join_from(node, counted, counted.c.node_id == node.c.node_id)
        .where(product.is_not(None), node.c.state == NodeState.REPORTING.value)
        .subquery("each")
    )
    beside = peers.beside_the_usual(each, each.c.gpus, each.c.product, each.c.vendor)
    missing = beside.c.usual - beside.c.own
    told = sight.about(beside, missing, beside.c.gpus, beside.c.product, beside.c.usual)
    return told.where(peers.differs(beside.c), missing > 0)


RULE = Rule(
    name="fewer_gpus_than_peers",
    severity=Severity.WARNING,
    scope=Scope.NODE,
    condition=_condition,
    text="{hostname} has {gpus} GPUs, other machines of its model ({product}) have {usual}",
    advice="Compare its PCI bus with that of a machine that has them all.",
    needs=Needs.DRIVER,
    every=300,
    wait=300,
    held_by=("short_node",),
    thresholds={
        "share": Threshold(80, "%", "Our choice: so many of the same model must have the same number."),
        "peers": Threshold(5, "nodes", "Our choice: with fewer machines no number is usual."),
    },
    labels={"category": "hardware"},
    source="GCM and GPUd hold the count against a number that is set; here the fleet itself tells it.",
)
