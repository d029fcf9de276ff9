"""Most nodes of a rack went silent together: power, a switch, or cooling, not single machines.

The alerts of its single nodes are held back while this one fires.

**What to do.** Look at the rack's switch and power distribution first. If the nodes answer on their BMCs but not on
the network, it is the switch; if the BMCs are silent too, it is power.
"""

from typing import Any

from sqlalchemy import Float, Select, and_, case, cast, func, null, select

from gpufleet_server.alerts.limits import PREFIX
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    node = sight.nodes()
    silence, rack = case((node.c.silent, node.c.last_seen)), (node.c.site, node.c.rack)
    first, last = (edge(silence).over(partition_by=rack) for edge in (func.min, func.max))
    each = select(node, silence.label("heard"), first.label("first"), last.label("last"))
    c = each.where(node.c.rack.is_not(None)).subquery("each").c
    together = c.limit_together * 1_000_000
    # Those that went with the first one, or with the last: a node that flaps does not end what took the others.
    with_first, with_last = (
        func.sum(case((among, 1), else_=0)) for among in (c.heard <= c.first + together, c.heard >= c.last - together)
    )
    silent, all_ = case((with_first >= with_last, with_first), else_=with_last), func.count()
    share = cast(100 * silent, Float(53)) / all_
    least, of_rack = (func.max(c[PREFIX + name]) for name in ("share", "nodes"))
    return (
        select(c.site, c.rack, share.label("value"), silent.label("silent"), all_.label("nodes"))
        .add_columns(null().label("node_id"), least.label("limit_share"))
        .group_by(c.site, c.rack)
        .having(and_(share >= least, all_ >= of_rack))
    )


RULE = Rule(
    name="rack_not_reporting",
    severity=Severity.CRITICAL,
    scope=Scope.RACK,
    condition=_condition,
    text="{silent} of {nodes} nodes of rack {rack} at {site} have gone silent",
    advice="Look at the rack's switch, power and cooling before its single nodes.",
    needs=Needs.NOTHING,
    # Shorter than a node's own, longer than a switch that looks for its way anew.
    wait=45,
    keep=60,
    thresholds={
        "share": Threshold(60, "%", "More than half of a rack within a minute is no coincidence of single machines."),
        "together": Threshold(300, "s", "Own choice: a rack's nodes go at once, single ones at times of their own."),
        "nodes": Threshold(3, "nodes", "With fewer nodes there is no telling a rack from its machines."),
    },
    labels={"category": "availability"},
)
