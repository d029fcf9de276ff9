"""A GPU that works has a PCIe link that is narrower or slower than GPU and slot could have together.

Copies to and from it take twice as long or worse, and with it each job of several GPUs. Idle GPUs lower their link to
save power; only what it is under load counts.

**What to do.**

1. `lspci -vv -s ADDRESS | grep LnkSta`: `downgraded` there says that hardware negotiated it.
2. Drain and power off the node; reseat the board, its riser or cable. All GPUs behind one switch: that switch.
3. All GPUs of a node after an update of its firmware: a setting of the BIOS.
4. As before: have the board, then the riser replaced.
"""

from typing import Any

from sqlalchemy import Select, or_

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight

# P0 to P2 are the states in which programs run; the link is at its fastest there.
_FAST = 2


def _condition(sight: Sight) -> Select[Any]:
    most = ("pcie_generation_max", "pcie_width_max")
    gpu = sight.observed(
        *("pcie_link_generation", "pcie_link_width", "performance_state", "gpu_utilization", "sm_active"),
        *most,
        where=lambda g: (
            (g.performance_state <= _FAST)
            & or_(g.gpu_utilization >= g.limit_busy, g.sm_active >= g.limit_busy)
            & or_(g.pcie_link_generation < g.pcie_generation_max, g.pcie_link_width < g.pcie_width_max)
        ),
    )
    generation = gpu.c.pcie_link_generation.label("generation")
    return sight.about(gpu, gpu.c.pcie_link_width, generation, *(gpu.c[name] for name in most))


RULE = Rule(
    name="pcie_link",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="the PCIe link of GPU {index} of {hostname} ({model}) is generation {generation} × {value:.0f} under load, of "
    "generation {pcie_generation_max} × {pcie_width_max}",
    advice="Reseat board and riser; all GPUs of a node: its PCIe switch or BIOS.",
    needs=Needs.SAMPLE,
    every=600,
    wait=600,
    # Nothing is known of it while the GPU is idle.
    keep=3600,
    held_by=("gpu_lost",),
    thresholds={"busy": Threshold(50, "%", "Own choice: what is at work for half of the time keeps its link up.")},
    labels={"category": "pcie"},
    source="NVML: the most that GPU and system can have together, so that a slot of eight lanes is no fault.",
)

PROMQL = """
gpufleet_gpu_pcie_link_width < max_over_time(gpufleet_gpu_pcie_link_width[7d])
and gpufleet_gpu_utilization_ratio * 100 >= $busy
"""
