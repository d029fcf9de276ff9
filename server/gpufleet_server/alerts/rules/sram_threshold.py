"""A GPU had so many uncorrectable SRAM errors that NVIDIA has the board replaced.

The board says so itself. No reset mends it: SRAM has no spare rows.

**What to do.** Drain the node and take the GPU out of use. Run NVIDIA's field diagnosis, and have the board replaced;
the alert has its serial number.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed("sram_threshold_exceeded", where=lambda g: g.sram_threshold_exceeded == 1)
    return sight.about(gpu, gpu.c.sram_threshold_exceeded)


RULE = Rule(
    name="sram_threshold",
    severity=Severity.CRITICAL,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}, serial {serial}) had too many uncorrectable SRAM errors",
    advice="Take the GPU out of use and have the board replaced.",
    needs=Needs.SAMPLE,
    every=60,
    labels={"category": "memory"},
    source="NVML: a threshold of the driver, after which the board is to be replaced.",
)

PROMQL = "gpufleet_gpu_sram_threshold_exceeded == 1"
