"""A GPU runs without ECC where most of its model at the site run with it.

Errors of its memory go unseen: results may be wrong, and nothing counts them. Somebody may have turned it off for the
memory and bandwidth that it costs.

**What to do.** Drain the GPU; `nvidia-smi -i INDEX -e 1`, and reset it. Where it is meant for one node, silence the
alert for it; what most of a model at a site have is taken as meant.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.peers import beside_the_usual, differs
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.gpus()
    beside = beside_the_usual(gpu, gpu.c.identity["ecc_mode"].as_string())
    told = sight.about(beside, None, beside.c.most, beside.c.peers)
    return told.where(differs(beside), beside.c.own == "disabled")


RULE = Rule(
    name="ecc_off",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) runs without ECC; {most} of {peers} of its model at {site} do not",
    advice="Turn ECC on (nvidia-smi -e 1) and reset the GPU.",
    needs=Needs.DRIVER,
    every=3600,
    thresholds={
        "share": Threshold(60, "%", "Own choice: what so many of a model at a site have in common is meant."),
        "peers": Threshold(4, "GPUs", "Own choice: of fewer there is no telling what is usual."),
    },
    labels={"category": "memory"},
    source="This project; NVML.",
)
