"""A GPU runs without ECC where most of its model at the site run with it.

Errors of its memory go unseen: results may be wrong, and nothing counts them. Somebody may have turned it off for the
memory and bandwidth that it costs.

**What to do.** Drain the GPU; `nvidia-smi -i INDEX -e 1`, and reset it. Where it is meant for one node, silence the
alert for it; what most of a model at a site have is taken as meant.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.peers import differs
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed("ecc_enabled", beside=("ecc_enabled",), where=lambda g: (g.ecc_enabled == 0) & differs(g))
    return sight.about(gpu, None, gpu.c.most, gpu.c.peers)


RULE = Rule(
    name="ecc_off",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) runs without ECC; {most} of {peers} of its model at {site} do not",
    advice="Turn ECC on (nvidia-smi -e 1) and reset the GPU.",
    needs=Needs.SAMPLE,
    every=3600,
    thresholds={
        "share": Threshold(60, "%", "Own choice: what so many of a model at a site have in common is meant."),
        "peers": Threshold(4, "GPUs", "Own choice: of fewer there is no telling what is usual."),
    },
    labels={"category": "memory"},
    source="This project; NVML.",
)
