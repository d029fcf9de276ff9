"""A memory row is to be remapped, which happens at the next reset of the GPU.

Until then the GPU works on with a row of memory that has failed; more errors there end jobs.

**What to do.** Drain the node when its jobs have ended, and reset the GPU (`nvidia-smi --gpu-reset -i INDEX`) or
reboot. If it stays pending afterwards, or a remap has failed, the board is to be replaced.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed("remap_pending", where=lambda g: g.remap_pending == 1)
    return sight.about(gpu, gpu.c.remap_pending)


RULE = Rule(
    name="remap_pending",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) has a memory row to be remapped at its next reset",
    advice="Reset the GPU when its jobs have ended.",
    needs=Needs.SAMPLE,
    every=60,
    labels={"category": "memory"},
    source="GPUd and nvidia_gpu_exporter: pending → reset or reboot.",
)

PROMQL = "gpufleet_gpu_remap_pending == 1"
