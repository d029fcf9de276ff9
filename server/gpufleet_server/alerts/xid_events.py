"""What rules over XIDs have in common: the XIDs of some classes of action that came lately, and rules of one class."""

from typing import Any

from gpufleet_agent.wire import XID_CONFIRMED
from sqlalchemy import BigInteger, ColumnElement, FromClause, Select, String, func, or_, select

from gpufleet_server.alerts.given import given
from gpufleet_server.alerts.rule import Needs, Rule, Scope, Severity, Threshold
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.domain.xids import Action, Xid
from gpufleet_server.store.schema import events

# After these nothing is left of what the driver or a GPU was in.
CURES = ("driver_recovered", "gpu_returned", "node_booted")
# Somebody says so: of one GPU, or of what is no GPU's.
DECLARED = "declared_healthy"
CURING = (*CURES, DECLARED)

ON_EVENTS = ("xid", XID_CONFIRMED, *CURING)
TEXT = "XID {code} on GPU {index} of {hostname} ({model}): {meaning}{opinions}"
COUNTS = Threshold(86_400, "s", "NVSentinel counts the XIDs of a day together.")


def xids(sight: Sight, *actions: Action, within: str = "counts", least: Severity = Severity.INFO) -> Select[Any]:
    """A row for each GPU and code of these classes that came within a threshold of s, and was not cured since.

    `value` is how often; beside it `code`, `meaning`, `action`, `severity`, `opinions` of others and the newest
    `message`. Codes that are less severe than `least` are left out.
    """
    known = known_xids(sight, *actions, least=least)
    event = sight.events("xid", within=within)
    told = sight.about(
        event,
        func.count().over(partition_by=(event.c.gpu_id, event.c.node_id, event.c.code)),
        *(known.c[name] for name in ("code", "meaning", "action", "severity", "opinions")),
        event.c.message,
        key=event.c.code,
    )
    return told.join_from(event, known, known.c.code == event.c.code).where(~cured(event.c)).order_by(event.c.ts.desc())


def known_xids(sight: Sight, *actions: Action, least: Severity = Severity.INFO) -> FromClause:
    """The table of XIDs in force, of these classes: `code`, `meaning`, `action`, `severity`, `opinions`."""
    severe = list(Severity)[: list(Severity).index(least) + 1]
    table = [each for each in sight.xids.xids.values() if each.action in actions and each.severity in severe]
    return given(
        sight.dialect,
        "known_xid",
        {
            "code": (BigInteger(), [each.code for each in table]),
            "meaning": (String(), [each.meaning or each.mnemonic for each in table]),
            "action": (String(), [each.action.text for each in table]),
            "severity": (String(), [each.severity.value for each in table]),
            "opinions": (String(), [_opinions(each) for each in table]),
        },
    )


def _opinions(xid: Xid) -> str:
    others = [f"{each.source}: {each.says}" for each in xid.opinions]
    return f" (others say otherwise: {'; '.join(others)})" if others else ""


def of_class(name: str, action: Action, severity: Severity, advice: str, **more: Any) -> Rule:
    """A rule over the XIDs of one class of action. `more` are fields of Rule."""

    def condition(sight: Sight) -> Select[Any]:
        return xids(sight, action)

    usual: dict[str, Any] = {
        "scope": Scope.GPU,
        "condition": condition,
        "text": TEXT,
        "needs": Needs.NOTHING,
        "on_events": ON_EVENTS,
        "held_by": ("gpu_lost",),
        "thresholds": {"counts": COUNTS},
        "key_label": "xid",
        "labels": {"category": "xid"},
        "source": "NVIDIA's XID catalogue, by its immediate action.",
    }
    return Rule(name=name, severity=severity, advice=advice, **(usual | more))


def cured(event: Any) -> ColumnElement[bool]:
    """Whether an event was followed by a load of its node's driver or a GPU's return, or its GPU declared healthy."""
    later = events.alias("later").c
    declared = (later.kind == DECLARED) & later.gpu_id.is_not_distinct_from(event.gpu_id)
    after = later.node_id == event.node_id, later.ts > event.ts, later.kind.in_(CURING)
    return select(1).where(*after, or_(later.kind != DECLARED, declared)).exists()
