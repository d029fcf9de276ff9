"""GPUs of a node with NVSwitches are not part of the NVLink fabric: programs on them can't start CUDA.

They look healthy otherwise. GPUs register when the driver is loaded, which takes a minute or two.

**What to do.**

1. `systemctl status nvidia-fabricmanager` and `journalctl -u nvidia-fabricmanager`: it has to run, in the driver's
   version. If it does not, `fabric_manager_down` says so, and this alert is held back.
2. `nvidia-smi -q -i INDEX`, section Fabric: state and status. Some GPUs of the node only: a link or a board; look for
   XIDs and SXIDs.
3. Reset the GPUs together, or reboot the node.
"""

from typing import Any

from sqlalchemy import Select, func, or_

from gpufleet_server.alerts.peers import of_nodes
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.alerts.wording import level

_REGISTERED = 3
_WORDS = {1: "not registered", 2: "registering", 3: "registered with an error"}


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed(
        "fabric_state",
        "fabric_status",
        where=lambda g: or_(g.fabric_state < _REGISTERED, (g.fabric_state == _REGISTERED) & (g.fabric_status != 0)),
    )
    lowest, status = func.min(gpu.c.fabric_state), func.max(gpu.c.fabric_status)
    of = of_nodes(gpu, lowest.label("fabric_state"), status.label("fabric_status"))
    return sight.about(of, of.c.gpus, level(of.c.fabric_state, _WORDS).label("state"), of.c.fabric_status)


RULE = Rule(
    name="fabric_not_registered",
    severity=Severity.CRITICAL,
    scope=Scope.NODE,
    condition=_condition,
    text="{value:.0f} GPUs of {hostname} are no part of the NVLink fabric: {state}, status {fabric_status}",
    advice="Look at Fabric Manager: systemctl status nvidia-fabricmanager; then reset the GPUs together or reboot.",
    needs=Needs.DRIVER,
    wait=300,
    held_by=("fabric_manager_down",),
    labels={"category": "nvlink"},
    source="NVSentinel, pull request 891: Fabric Manager was dead for 20 days while all GPUs looked healthy. Five "
    "minutes are for what registers after a boot; own choice.",
)

PROMQL = "gpufleet_gpu_fabric_state < 3"
