"""A GPU's PCIe link has to send packets again more often than it should: its signals are bad.

What is allowed is by the minute and lane, twice as many with each generation: 31 a minute for sixteen lanes of
generation 5.

**What to do.**

1. `lspci -vvv -s ADDRESS` shows errors of the link, `dmesg | grep -i aer` those that the kernel saw.
2. Several GPUs behind one PCIe switch or riser: that one. One alone: drain and power off the node, reseat the board and
   its riser or cable.
3. With `pcie_link` (narrower or slower) or XID 79: have the board, then the riser replaced.
"""

from typing import Any

from sqlalchemy import Float, Select, case, cast, func

from gpufleet_server.alerts.growth import changed_within, grown
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed(
        "pcie_replays",
        "pcie_link_width",
        "pcie_generation_max",
        "pcie_width_max",
        where=lambda g: (g.pcie_replays > g.limit_per_lane) & changed_within(g, "pcie_replays", g.limit_window),
    )
    generation, lanes = gpu.c.pcie_generation_max, gpu.c.pcie_width_max
    times = case((generation <= 3, 1), (generation == 4, 2), (generation == 5, 4), (generation >= 6, 8), else_=1)
    allowed = gpu.c.limit_per_lane * times * func.coalesce(gpu.c.pcie_link_width, lanes, 16)
    a_minute = cast(grown(sight, gpu, "pcie_replays", gpu.c.limit_window), Float(53)) * 60 / gpu.c.limit_window
    told = sight.about(gpu, a_minute, allowed.label("allowed"), generation.label("generation"))
    return told.where(a_minute > allowed)


RULE = Rule(
    name="pcie_replays",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) sends {value:.0f} PCIe packets a minute again; {allowed:.0f} are usual "
    "for generation {generation}",
    advice="Reseat board and riser; several GPUs behind one switch: that switch.",
    needs=Needs.SAMPLE,
    every=300,
    keep=600,
    held_by=("gpu_lost",),
    thresholds={
        "per_lane": Threshold(
            0.48, "/min and lane", "DCGM's health check: 0.48, 0.96, 1.92, 3.84 for generations 3, 4, 5, 6."
        ),
        "window": Threshold(600, "s", "Own choice: ten minutes' mean, as agents read the counter once a minute."),
    },
    labels={"category": "pcie"},
)

PROMQL = """
rate(gpufleet_gpu_pcie_replays[${window}s]) * 60 > gpufleet_gpu_pcie_link_width * $per_lane
* 2 ^ (clamp_min(max_over_time(gpufleet_gpu_pcie_link_generation[1d]), 3) - 3)
"""
