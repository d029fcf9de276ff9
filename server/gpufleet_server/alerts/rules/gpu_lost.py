"""A GPU has fallen off the bus: the driver lists it and can't reach it any more.

**What to do.**

1. Drain the node: jobs on this GPU have failed, those on others may with the next reset.
2. `dmesg | grep -i xid` shows XID 79 mostly. Reboot; if it is not there afterwards, power the machine off and on.
3. Lost again within weeks: reseat the board, check its power cables, then have it replaced; `gpufleet gpu` has its
   serial.
"""

from typing import Any

from sqlalchemy import Select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.state import NodeState


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.gpus()
    return sight.about(gpu, None).where(gpu.c.lost, gpu.c.state == NodeState.REPORTING.value)


RULE = Rule(
    name="gpu_lost",
    severity=Severity.CRITICAL,
    scope=Scope.GPU,
    condition=_condition,
    text="GPU {index} of {hostname} ({model}, serial {serial}) has fallen off the bus",
    advice="Drain and reboot the node; lost again, have the board replaced.",
    needs=Needs.DRIVER,
    on_events=("gpu_lost", "gpu_returned"),
    labels={"category": "hardware"},
    source="NVIDIA's XID catalogue: 79 is fatal and needs a reboot.",
)

PROMQL = "gpufleet_gpu_lost == 1"
