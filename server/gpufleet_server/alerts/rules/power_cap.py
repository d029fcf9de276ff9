"""GPUs of a node have another power limit than most of their model at the site.

It is a cap that is missing here, or one that was forgotten.

A limit that most of them have is taken as meant, whatever it is. Too low a limit makes a GPU slow, and with it its job;
too high a one draws power that the rack may not have.

**What to do.** `nvidia-smi -q -d POWER` on the node. Set what was meant (`nvidia-smi -pl WATTS`): it does not outlast a
load of the driver, so see that what sets it at boot (a unit, the configuration management) ran here. A node that is
meant to differ: silence the alert for it.
"""

from typing import Any

from sqlalchemy import Select, func

from gpufleet_server.alerts.peers import differs, of_nodes
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed(
        "power_limit",
        "power_limit_default",
        # Boards of one name may be built for different limits.
        beside=("power_limit", "power_limit_default"),
        where=lambda g: differs(g) & (g.ts - g.power_limit_since >= g.limit_settled * 1_000_000),
    )
    names = {name: name for name in ("own", "usual", "most", "peers")} | {"power_limit_default": "built"}
    of = of_nodes(gpu, *(func.max(gpu.c[name]).label(told) for name, told in names.items()))
    return sight.about(of, of.c.gpus, *(of.c[told] for told in names.values()))


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
