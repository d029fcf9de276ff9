"""Writes events: a row each, but for what another source tells of the same XID, which is added to its row."""

from collections.abc import Sequence
from typing import Any

from gpufleet_agent.wire import XID_CONFIRMED
from sqlalchemy import Connection, insert, select, update

from gpufleet_server.domain.clock import SECOND
from gpufleet_server.store.events import placed
from gpufleet_server.store.schema import events

_XID = "xid"
# A clock's correction moves a little from report to report, and the event with it.
_NEAR = SECOND


def write(connection: Connection, rows: Sequence[dict[str, Any]]) -> int:
    """Store events; how many rows that made."""
    if not rows:
        return 0
    # Of all of them before any is written: two that add new places one by one could wait for each other.
    rows = placed(connection, rows)
    told = [row for row in rows if row["kind"] != XID_CONFIRMED]
    if told:
        connection.execute(insert(events), told)
    alone = [row for row in rows if row["kind"] == XID_CONFIRMED and not _add(connection, row)]
    if alone:
        # What it adds to was dropped before it came here: then it is all that is known of that XID.
        connection.execute(insert(events), [row | {"kind": _XID} for row in alone])
    return len(told) + len(alone)


def _add(connection: Connection, row: dict[str, Any]) -> bool:
    """Add what a source confirms to the row of the XID; whether there was one."""
    first = _first(connection, row)
    if first is None:
        return False
    added = {name: value for name, value in row["detail"].items() if name != "confirms"}
    values = {
        "source": f"{first.source}, {row['source']}",
        "message": first.message or row["message"],
        "partition": first.partition or row["partition"],
        "detail": {**added, **first.detail, "sources": [first.source, row["source"]]},
    }
    connection.execute(update(events).where(events.c.event_id == first.event_id).values(values))
    return True


def _first(connection: Connection, row: dict[str, Any]) -> Any:
    """The XID that is meant: of the same node, source, GPU and code, nearest in time, and not confirmed yet."""
    columns = (events.c.event_id, events.c.ts, events.c.source, events.c.message, events.c.partition, events.c.detail)
    query = select(*columns).where(
        events.c.node_id == row["node_id"],
        events.c.gpu_id == row["gpu_id"],
        events.c.kind == _XID,
        events.c.code == row["code"],
        events.c.source == row["detail"].get("confirms"),
        events.c.ts.between(row["ts"] - _NEAR, row["ts"] + _NEAR),
    )
    found = connection.execute(query).all()
    return min(found, key=lambda one: (abs(one.ts - row["ts"]), one.event_id), default=None)
