"""A memory row could not be remapped: the board has no spare row left where one is needed.

**What to do.** Drain the node and take the GPU out of use; more errors in this row end programs, and may go unseen. Run
NVIDIA's field diagnosis, and have the board replaced; the alert has its serial number.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed("remap_failed", where=lambda g: g.remap_failed == 1)
    return sight.about(gpu, gpu.c.remap_failed)


RULE = Rule(
    name="remap_failed",
    severity=Severity.CRITICAL,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}, serial {serial}) could not remap a memory row",
    advice="Take the GPU out of use and have the board replaced.",
    needs=Needs.SAMPLE,
    every=60,
    labels={"category": "memory"},
    source="GPUd: hardware inspection (RMA); GCM and the nvidia_gpu_exporter chart: critical.",
)

PROMQL = "gpufleet_gpu_remap_failed == 1"
