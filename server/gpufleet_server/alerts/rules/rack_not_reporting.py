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
    silent, all_ = func.sum(case((node.c.silent, 1), else_=0)), func.count()
    share = cast(100 * silent, Float(53)) / all_
    least, of_rack = (func.max(node.c[PREFIX + name]) for name in ("share", "nodes"))
    return (
        select(node.c.site, node.c.rack, share.label("value"), silent.label("silent"), all_.label("nodes"))
        .add_columns(null().label("node_id"), least.label("limit_share"))
        .where(node.c.rack.is_not(None))
        .group_by(node.c.site, node.c.rack)
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
    wait=30,
    keep=60,
    thresholds={
        "share": Threshold(60, "%", "More than half of a rack within a minute is no coincidence of single machines."),
        "nodes": Threshold(3, "nodes", "With fewer nodes there is no telling a rack from its machines."),
    },
    labels={"category": "availability"},
)
