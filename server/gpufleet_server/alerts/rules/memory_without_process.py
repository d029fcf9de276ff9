"""Memory of a GPU is held though the driver lists no process on it: nobody else can use it, and there is none to end.

It is what a process left behind that died inside the driver, or that hangs in the kernel and is not listed any more.

**What to do.**

1. `fuser -v /dev/nvidia*` and `ps -eo pid,stat,cmd | grep ' D'` on the node: what still has the device open, or hangs?
   A container that was not removed; ending it mostly lets go of the memory.
2. There is nothing: drain the node, reset the GPU (`nvidia-smi --gpu-reset -i INDEX`), or reboot.

It is told only where the node's agent tells who uses the GPUs: without that it is not known that nobody does.
"""

from typing import Any

from sqlalchemy import ColumnElement, Select, select

from gpufleet_server.alerts import use
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight

_MIB = 1 << 20


def _is_left(gpu: Any) -> ColumnElement[bool]:
    left: ColumnElement[bool] = (gpu.compute_processes == 0) & (gpu.fb_used >= gpu.limit_memory * _MIB)
    return use.held(gpu) & left


def _condition(sight: Sight) -> Select[Any]:
    gpu, had = sight.observed(*use.METRICS, where=_is_left), sight.usage(within=300)
    mine = select(1).where(had.c.gpu_id == gpu.c.gpu_id)
    told = sight.about(gpu, gpu.c.fb_used / (1024.0 * _MIB))
    return told.where(mine.where(had.c.kind == "nobody").exists(), ~mine.where(had.c.kind != "nobody").exists())


RULE = Rule(
    name="memory_without_process",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="{value:.1f} GiB of GPU {index} of {hostname} ({model}) are held, and the driver lists no process",
    advice="Look for what has the device open; else reset the GPU.",
    needs=Needs.SAMPLE,
    every=60,
    wait=600,
    keep=120,
    thresholds={
        "memory": Threshold(
            1024, "MiB", "GCM takes 15 MiB; drivers count up to a GiB as used without anybody (docs/metrics.md)."
        )
    },
    labels={"category": "use"},
    source="GCM: memory used on an idle GPU. Ten minutes: docs/adr/0008.",
)
