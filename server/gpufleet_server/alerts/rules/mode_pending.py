"""A GPU's ECC or MIG mode was changed, and waits for a reset to take effect.

It works on in the mode it was in. After the next reset or reboot, whatever its reason, it comes back in the other one:
with more or less memory, or cut into partitions.

**What to do.** If it is meant, reset the GPU when its jobs have ended. If not, set the mode back (`nvidia-smi -e`,
`nvidia-smi -mig`) before somebody reboots the node.
"""

from typing import Any

from sqlalchemy import Select, String, case, or_

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.gpus()
    names = ("ecc_mode", "ecc_mode_pending", "mig_mode", "mig_mode_pending")
    ecc, ecc_then, mig, mig_then = (gpu.c.identity[name].as_string() for name in names)
    changes = case((ecc != ecc_then, "ECC will be "), else_="MIG will be ").op("||", return_type=String())(
        case((ecc != ecc_then, ecc_then), else_=mig_then)
    )
    return sight.about(gpu, None, changes.label("change")).where(or_(ecc != ecc_then, mig != mig_then))


RULE = Rule(
    name="mode_pending",
    severity=Severity.INFO,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}) waits for a reset: {change}",
    advice="Reset the GPU when its jobs have ended, or set the mode back.",
    needs=Needs.DRIVER,
    every=3600,
    wait=3600,
    # Somebody who changes the mode of many does that on purpose.
    share=None,
    labels={"category": "configuration"},
    source="NVML. An hour is for who resets it next; own choice.",
)
