"""A GPU has had so many rows of its memory remapped that it is near the end of its spares.

It works on as it should. A bank without spare rows fails with its next error (`remap_failed`).

**What to do.** Plan the board's replacement, and have important jobs elsewhere. `gpufleet gpu` shows how many banks
have how many spares, `gpufleet history remapped_rows_uncorrectable` how fast it goes.
"""

from typing import Any

from sqlalchemy import Select, or_

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight

_METRICS = ("remapped_rows_uncorrectable", "remapped_rows_correctable", "remap_banks_no_spares")


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed(
        *_METRICS,
        where=lambda g: or_(g.remapped_rows_uncorrectable >= g.limit_rows, g.remap_banks_no_spares >= g.limit_banks),
    )
    return sight.about(gpu, gpu.c.remapped_rows_uncorrectable, *(gpu.c[name] for name in _METRICS))


RULE = Rule(
    name="remap_threshold",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) has had {remapped_rows_uncorrectable} rows remapped after uncorrectable "
    "errors, and {remap_banks_no_spares} banks without a spare row",
    advice="Plan the board's replacement.",
    needs=Needs.SAMPLE,
    every=60,
    held_by=("remap_failed",),
    thresholds={
        "rows": Threshold(512, "rows", "DCGM's health check: 512 remaps after uncorrectable errors."),
        "banks": Threshold(1, "banks", "NVML's histogram: the next remap in such a bank fails."),
    },
    labels={"category": "memory"},
)

PROMQL = "gpufleet_gpu_remapped_rows_uncorrectable >= $rows or gpufleet_gpu_remap_banks_no_spares >= $banks"
