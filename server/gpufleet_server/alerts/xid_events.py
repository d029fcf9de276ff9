"""What rules over XIDs have in common: the XIDs of some classes of action that came lately."""

from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Select, String, func, select

from gpufleet_server.alerts.given import given
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.alerts.xids import Action
from gpufleet_server.store.schema import events

# After these nothing is left of what the driver or a GPU was in.
CURES = ("driver_recovered", "gpu_returned")


def xids(sight: Sight, *actions: Action, within: str = "counts") -> Select[Any]:
    """A row for each GPU and code of these classes that came within a threshold of s, and was not cured since.

    `value` is how often; beside it `code`, `meaning`, `action`, `severity` and the newest `message`.
    """
    codes = sight.xids.codes(*actions)
    table = [sight.xids.xids[code] for code in codes]
    known = given(
        sight.dialect,
        "xid",
        {
            "code": (BigInteger(), codes),
            "meaning": (String(), [each.meaning or each.mnemonic for each in table]),
            "action": (String(), [each.action.text for each in table]),
            "severity": (String(), [each.severity.value for each in table]),
        },
    )
    event = sight.events("xid", within=within)
    told = sight.about(
        event,
        func.count().over(partition_by=(event.c.gpu_id, event.c.node_id, event.c.code)),
        *(known.c[name] for name in ("code", "meaning", "action", "severity")),
        event.c.message,
        key=event.c.code,
    )
    return (
        told.join_from(event, known, known.c.code == event.c.code)
        .where(~_cured(event.c.node_id, event.c.ts))
        .order_by(event.c.ts.desc())
    )


def _cured(node_id: ColumnElement[int], ts: ColumnElement[int]) -> ColumnElement[bool]:
    later = events.alias("later").c
    return select(1).where(later.node_id == node_id, later.ts > ts, later.kind.in_(CURES)).exists()
