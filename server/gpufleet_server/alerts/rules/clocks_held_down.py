"""A busy GPU runs at a clock far below its highest, and nothing says why: no power limit, no heat, no setting.

A job waits for its slowest GPU. What holds the clocks down for a reason that the driver gives is not meant here.

**What to do.**

1. `nvidia-smi -q -d CLOCK,PERFORMANCE -i INDEX`: clocks that somebody locked (`nvidia-smi -lgc`) are not told as a
   reason by all drivers; `nvidia-smi -rgc` takes that back. Meant for a model or a site? Turn the rule off there.
2. Reset the GPU, or reboot the node: a power state that hangs goes away with it.
3. If it comes again on this GPU alone: have the board inspected.
"""

from typing import Any

from sqlalchemy import Select, and_, or_

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight

# All reasons there are; idle among them.
_REASONS = 0x1FF
# Of the time; a reading of the reasons is of a moment only.
_SHARES = ("clocks_held_by_power", "clocks_held_by_heat", "clocks_held_by_power_brake")


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed(
        *("sm_clock", "sm_clock_max", "gpu_utilization", "sm_active", "clock_event_reasons", *_SHARES),
        where=lambda g: (
            (g.clock_event_reasons.bitwise_and(_REASONS) == 0)
            & or_(g.gpu_utilization >= g.limit_busy, g.sm_active >= g.limit_busy)
            & and_(*(or_(g[name].is_(None), g[name] < g.limit_held) for name in _SHARES))
            & (100 * g.sm_clock < g.limit_share * g.sm_clock_max)
        ),
    )
    return sight.about(gpu, gpu.c.sm_clock, gpu.c.sm_clock_max.label("highest"))


RULE = Rule(
    name="clocks_held_down",
    severity=Severity.WARNING,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) is busy at {value:.0f} of {highest} MHz, and no reason is given",
    advice="See whether somebody locked its clocks; else reset the GPU.",
    needs=Needs.SAMPLE,
    every=600,
    wait=600,
    keep=1800,
    held_by=("gpu_lost", "thermal_slowdown", "power_brake"),
    thresholds={
        "share": Threshold(60, "%", "GCM: below 1155 MHz, which is 58 % of an H100's highest clock."),
        "busy": Threshold(90, "%", "Own choice: what waits for work half of the time may well clock down."),
        "held": Threshold(5, "%", "Own choice: held down for a reason for more of the time than this."),
    },
    labels={"category": "performance"},
)

PROMQL = """
gpufleet_gpu_sm_clock_hertz * 100 < $share * max_over_time(gpufleet_gpu_sm_clock_hertz[7d])
and gpufleet_gpu_utilization_ratio * 100 >= $busy
unless max without (reason) (gpufleet_gpu_clock_event_reasons) == 1
"""
