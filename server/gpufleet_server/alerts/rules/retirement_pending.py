"""A page of memory is to be retired, which happens at the next reboot.

GPUs before Ampere retire pages where newer ones remap rows. Until then programs may still be given the page.

**What to do.** Drain the node when its jobs have ended, and reboot it, or reset the GPU.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed("retirement_pending", where=lambda g: g.retirement_pending == 1)
    return sight.about(gpu, gpu.c.retirement_pending)


RULE = Rule(
    name="retirement_pending",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) has a memory page to be retired at its next reset",
    advice="Reset the GPU or reboot the node when its jobs have ended.",
    needs=Needs.SAMPLE,
    every=60,
    labels={"category": "memory"},
    source="The nvidia_gpu_exporter chart: warning; GCM: any that waits.",
)

PROMQL = "gpufleet_gpu_retirement_pending == 1"
