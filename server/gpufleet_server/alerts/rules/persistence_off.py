"""A GPU has persistence mode off where most of its model at the site have it on.

The driver lets go of the GPU when its last user ends: jobs start later, counters and power limits begin anew each time.
gpufleet's agent keeps the GPU open while it runs, so that little of this shows until it is stopped.

**What to do.** Enable `nvidia-persistenced` (or `nvidia-smi -pm 1`, until the next boot) as on the other nodes.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.peers import differs
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed(
        "persistence_enabled",
        beside=("persistence_enabled",),
        where=lambda g: (g.persistence_enabled == 0) & differs(g),
    )
    return sight.about(gpu, None, gpu.c.most, gpu.c.peers)


RULE = Rule(
    name="persistence_off",
    severity=Severity.INFO,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) has persistence mode off; {most} of {peers} of its kind at {site} do not",
    advice="Enable nvidia-persistenced, as on the other nodes.",
    needs=Needs.SAMPLE,
    every=3600,
    thresholds={
        "share": Threshold(60, "%", "Own choice: what so many of a model at a site have in common is meant."),
        "peers": Threshold(4, "GPUs", "Own choice: of fewer there is no telling what is usual."),
    },
    labels={"category": "configuration"},
    source="NVIDIA's guide of driver persistence.",
)
