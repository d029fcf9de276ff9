"""A GPU's ECC or MIG mode was changed, and waits for a reset to take effect.

It works on in the mode it was in. After the next reset or reboot, whatever its reason, it comes back in the other one:
with more or less memory, or cut into partitions.

**What to do.** If it is meant, reset the GPU when its jobs have ended. If not, set the mode back (`nvidia-smi -e`,
`nvidia-smi -mig`) before somebody reboots the node.
"""

from typing import Any

from sqlalchemy import ColumnElement, Select, case, or_

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    names = ("ecc_enabled", "ecc_pending_enabled", "mig_enabled", "mig_pending_enabled")
    gpu = sight.observed(
        *names, where=lambda g: or_(g.ecc_enabled != g.ecc_pending_enabled, g.mig_enabled != g.mig_pending_enabled)
    )
    ecc, ecc_then, _, mig_then = (gpu.c[name] for name in names)
    told = case((ecc != ecc_then, _then("ECC", ecc_then)), else_=_then("MIG", mig_then))
    return sight.about(gpu, None, told.label("change"))


def _then(mode: str, then: ColumnElement[int]) -> ColumnElement[str]:
    return case((then == 1, f"{mode} will be enabled"), else_=f"{mode} will be disabled")


RULE = Rule(
    name="mode_pending",
    severity=Severity.INFO,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) waits for a reset: {change}",
    advice="Reset the GPU when its jobs have ended, or set the mode back.",
    needs=Needs.SAMPLE,
    every=3600,
    wait=3600,
    # Somebody who changes the mode of many does that on purpose.
    share=None,
    labels={"category": "configuration"},
    source="NVML. An hour is for who resets it next; own choice.",
)
