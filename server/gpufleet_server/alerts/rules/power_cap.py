"""GPUs of a node have another power limit than most of their model at the site.

It is a cap that is missing here, or one that was forgotten.

A limit that most of them have is taken as meant, whatever it is. Too low a limit makes a GPU slow, and with it its job;
too high a one draws power that the rack may not have.

**What to do.** `nvidia-smi -q -d POWER` on the node. Set what was meant (`nvidia-smi -pl WATTS`): it does not outlast a
load of the driver, so see that what sets it at boot (a unit, the configuration management) ran here. A node that is
meant to differ: silence the alert for it.
"""

from typing import Any

from sqlalchemy import Select, and_, func, select

from gpufleet_server.alerts.peers import beside_the_usual, differs, of_nodes
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    gpu, own = sight.observed("power_limit", where=lambda g: g.power_limit > 0), sight.gpus().alias("own")
    # Boards of one name may be built for different limits.
    built = own.c.identity["power_limit_default"].as_float().label("built")
    with_built = select(*gpu.c, built).join_from(gpu, own, own.c.gpu_id == gpu.c.gpu_id).subquery("limited")
    c = with_built.c
    beside = beside_the_usual(with_built, c.power_limit, c.built)
    settled = beside.c.ts - beside.c.power_limit_since >= beside.c.limit_settled * 1_000_000
    names = ("own", "usual", "most", "peers", "built")
    of = of_nodes(
        beside, *(func.max(beside.c[name]).label(name) for name in names), which=and_(differs(beside), settled)
    )
    return sight.about(of, of.c.gpus, *(of.c[name] for name in names))


RULE = Rule(
    name="power_cap",
    severity=Severity.WARNING,
    scope=Scope.NODE,
    condition=_condition,
    text="{value:.0f} GPUs of {hostname} have a power limit of {own:.0f} W; {most} of {peers} of their kind at {site} "
    "have {usual:.0f} W (built for {built:.0f} W)",
    advice="Set the limit that was meant: nvidia-smi -pl; see what sets it at boot.",
    needs=Needs.DRIVER,
    every=1800,
    thresholds={
        "share": Threshold(60, "%", "Own choice: what so many of a model at a site have in common is meant."),
        "settled": Threshold(900, "s", "Own choice: after a load of the driver the cap takes a while to be set again."),
        "peers": Threshold(4, "GPUs", "Own choice: of fewer there is no telling what is usual."),
    },
    labels={"category": "power"},
    source="This project; NVML: the limit that is enforced, and the default.",
)
