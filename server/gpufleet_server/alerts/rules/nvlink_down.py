"""NVLinks of a GPU are down that were up, or that are up on others of its model.

Jobs over several GPUs run slower or not at all. Boards that have fewer links by design (bridges over some of them, or
none) are not meant: what holds for a fifth of a model at a site, or was so for a week, is taken as meant.

**What to do.**

1. `nvidia-smi nvlink -s -i INDEX`; the alert names the links. The same link down on another GPU: the bridge or switch
   between them.
2. Drain the node; reset its GPUs together. On boards with NVSwitches restart Fabric Manager after it, and look at its
   log.
3. Down again: reseat board or bridge; have the board or baseboard replaced.
"""

from typing import Any

from sqlalchemy import Select, func, or_, select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.alerts.wording import flags


def _condition(sight: Sight) -> Select[Any]:
    gpu = sight.observed("nvlink_links_up", "nvlink_links_down", where=lambda g: g.nvlink_links_down > 0)
    up = gpu.c.nvlink_links_up
    alike = func.count().over(partition_by=(gpu.c.site, gpu.c.model, up))
    before = sight.was("nvlink_links_up", gpu.c.gpu_id, gpu.c.limit_meant, or_first=True)
    each = select(*gpu.c, alike.label("alike"), before.label("before")).subquery("linked")
    c, every = each.c, sight.gpus()
    all_ = select(every.c.site, every.c.model, func.count().label("peers")).group_by(every.c.site, every.c.model)
    of = all_.subquery("of_model")
    same = of.c.site.is_not_distinct_from(c.site) & of.c.model.is_not_distinct_from(c.model)
    told = sight.about(each, c.nvlink_links_up, flags("nvlink_links_down", c.nvlink_links_down).label("links"))
    unusual = 100 * c.alike < c.limit_share * of.c.peers
    return told.join_from(each, of, same).where(or_(c.nvlink_links_up < c.before, unusual))


RULE = Rule(
    name="nvlink_down",
    severity=Severity.CRITICAL,
    scope=Scope.GPU,
    condition=_condition,
    text="NVLinks of GPU {index} of {hostname} ({model}) are down, {value:.0f} are up: {links}",
    advice="Drain the node and reset its GPUs together; down again, look at bridge, baseboard and board.",
    needs=Needs.SAMPLE,
    every=60,
    wait=60,
    held_by=("gpu_lost", "fabric_manager_down"),
    thresholds={
        "share": Threshold(20, "%", "Own choice: so many of a model at a site with as few links are so by design."),
        "meant": Threshold(7 * 86_400, "s", "Own choice: a link that was up so long ago ought to be up."),
    },
    labels={"category": "nvlink"},
    source="NVML, state of each link; XID 74 and NVIDIA's steps for it.",
)

PROMQL = "gpufleet_gpu_nvlink_links_up < max_over_time(gpufleet_gpu_nvlink_links_up[${meant}s])"
