"""An XID came again after its GPU's driver was loaded anew more than once since it first came: reboots do not help.

**What to do.** Drain the node and leave it out. Have the hardware inspected: seat, power, then the board's replacement.
The alert has the board's serial number; `gpufleet events --node NAME` shows each time.

Only codes count after which NVIDIA asks for a reset or a reboot. The alert ends when the GPU is another one, or when
none of these XIDs came for so long that fewer than three loads of the driver saw it.
"""

from typing import Any

from sqlalchemy import Select, func, select

from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import OF_GPU, OF_NODE, Sight
from gpufleet_server.alerts.xid_events import CURES, known_xids
from gpufleet_server.domain.xids import Action
from gpufleet_server.store.schema import events


def _condition(sight: Sight) -> Select[Any]:
    event = sight.events("xid", within="counts")
    known = known_xids(sight, Action.RESET_GPU, Action.REBOOT_NODE)
    cure = events.alias("cure").c
    after = cure.node_id == event.c.node_id, cure.kind.in_(CURES), cure.ts > event.c.ts, cure.ts <= sight.at
    # One load of the driver from the next: when the first cure after the XID was.
    life = select(func.min(cure.ts)).where(*after).scalar_subquery()
    names = (*OF_NODE, *OF_GPU, "code", "limit_loads")
    each = select(*(event.c[name] for name in names), func.coalesce(life, 0).label("life"))
    c = each.where(event.c.gpu_id.is_not(None)).subquery("each").c
    lives = select(*(c[name] for name in names), func.count(c.life.distinct()).label("lives"))
    of = lives.group_by(*(c[name] for name in names)).subquery("xid_lives")
    told = sight.about(of, of.c.lives, of.c.code, known.c.meaning, key=of.c.code)
    return told.join_from(of, known, known.c.code == of.c.code).where(of.c.lives >= of.c.limit_loads)


RULE = Rule(
    name="xid_after_reboots",
    severity=Severity.CRITICAL,
    scope=Scope.GPU,
    condition=_condition,
    text="XID {code} came in {value:.0f} loads of the driver on GPU {index} of {hostname} ({model}, serial {serial}): "
    "{meaning}",
    advice="Drain the node and have the board inspected: reboots do not help.",
    needs=Needs.NOTHING,
    every=60,
    on_events=("xid",),
    thresholds={
        "loads": Threshold(3, "loads", "GPUd: the same XID after two reboots is the hardware's."),
        "counts": Threshold(30 * 86_400, "s", "Own choice: what comes once in a month may be by chance."),
    },
    key_label="xid",
    labels={"category": "xid"},
    source="GPUd; NVIDIA's XID catalogue (if it comes again: contact support).",
)
