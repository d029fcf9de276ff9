"""A GPU had new uncorrectable memory errors: data was lost, and the programs that used it were ended.

New ones count, not what a board has had in its life. Errors of DRAM are mostly followed by a row that is remapped at
the next reset; those of SRAM (caches, registers) are not, and many of them mean a board to be replaced.

**What to do.**

1. Drain the node when its other jobs have ended, and reset the GPU: that remaps the row and clears the counters.
2. `gpufleet gpu` shows whether a remap waits or failed, and the totals of the board's life.
3. Errors again within days, or of SRAM: run the diagnosis (`dcgmi diag -r 3`); have the board replaced.

The alert ends with the reset, or a day after the last new error.
"""

from typing import Any

from sqlalchemy import ColumnElement, Select, and_, func, or_

from gpufleet_server.alerts.growth import changed_within, grown
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight

_SRAM, _DRAM = "ecc_sram_uncorrected_volatile", "ecc_dram_uncorrected_volatile"


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed(_SRAM, _DRAM, where=lambda g: or_(_recent(g, _SRAM), _recent(g, _DRAM)))
    sram, dram = (func.coalesce(grown(sight, gpu, name, gpu.c.limit_counts), 0) for name in (_SRAM, _DRAM))
    return sight.about(gpu, sram + dram, sram.label("sram"), dram.label("dram")).where(sram + dram > 0)


def _recent(gpu: Any, metric: str) -> ColumnElement[bool]:
    return and_(gpu[metric] > 0, changed_within(gpu, metric, gpu.limit_counts))


RULE = Rule(
    name="ecc_uncorrectable",
    severity=Severity.CRITICAL,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) had new uncorrectable memory errors: {dram} of DRAM, {sram} of SRAM",
    advice="Drain the node and reset the GPU; if they come again, or of SRAM, have the board replaced.",
    needs=Needs.SAMPLE,
    every=60,
    held_by=("gpu_lost", "xid_reset_gpu", "xid_reboot_node"),
    thresholds={"counts": Threshold(86_400, "s", "NVSentinel counts the errors of a day together.")},
    labels={"category": "memory"},
    source="GCM and the nvidia_gpu_exporter chart: more than none is critical.",
)

PROMQL = """
increase(gpufleet_gpu_ecc_sram_uncorrected_volatile[${counts}s]) > 0
or increase(gpufleet_gpu_ecc_dram_uncorrected_volatile[${counts}s]) > 0
"""
