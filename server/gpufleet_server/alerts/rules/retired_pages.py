"""A GPU has retired so many pages of its memory that the board is to be replaced.

GPUs before Ampere retire single pages, and have room for 64 of them. Many in a short time after double-bit errors mean
the same sooner.

**What to do.** Take the GPU out of use when its jobs have ended; run NVIDIA's field diagnosis, and have the board
replaced. `nvidia-smi -q -d PAGE_RETIREMENT` lists the pages.
"""

from typing import Any

from sqlalchemy import Select, or_

from gpufleet_server.alerts.growth import grown
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight

_SINGLE, _DOUBLE = "retired_pages_single_bit", "retired_pages_double_bit"
_WEEK = 7 * 86_400


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed(
        _SINGLE, _DOUBLE, where=lambda g: or_(g[_SINGLE] + g[_DOUBLE] >= g.limit_pages, g[_DOUBLE] > g.limit_double)
    )
    total = gpu.c[_SINGLE] + gpu.c[_DOUBLE]
    told = sight.about(gpu, total, gpu.c[_DOUBLE].label("double"))
    fast = grown(sight, gpu, _DOUBLE, _WEEK) > gpu.c.limit_a_week
    return told.where(or_(total >= gpu.c.limit_pages, (gpu.c[_DOUBLE] > gpu.c.limit_double) & fast))


RULE = Rule(
    name="retired_pages",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}, serial {serial}) has retired {value:.0f} pages, {double} after "
    "double-bit errors",
    advice="Take the GPU out of use and have the board replaced.",
    needs=Needs.SAMPLE,
    every=60,
    thresholds={
        "pages": Threshold(63, "pages", "DCGM's health check fails at 63 (GCM: more than 10)."),
        "double": Threshold(15, "pages", "DCGM's health check: more than 15 after double-bit errors, if also …"),
        "a_week": Threshold(1, "pages", "… more than one of them came within a week."),
    },
    labels={"category": "memory"},
)

PROMQL = """
gpufleet_gpu_retired_pages_single_bit + gpufleet_gpu_retired_pages_double_bit >= $pages
or (gpufleet_gpu_retired_pages_double_bit > $double and increase(gpufleet_gpu_retired_pages_double_bit[7d]) > $a_week)
"""
