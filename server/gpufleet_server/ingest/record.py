"""Writes one report into the store, inside the caller's transaction."""

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME
from sqlalchemy import Connection, Table, bindparam, func, insert, literal_column, select, update
from sqlalchemy.dialects import sqlite

from gpufleet_server.domain.clock import SECOND, Correction, turned_large
from gpufleet_server.ingest import changes
from gpufleet_server.ingest.check import check_created
from gpufleet_server.ingest.columns import unknown
from gpufleet_server.ingest.memory import Memory, Node, add_gpus
from gpufleet_server.ingest.prepare import Prepared
from gpufleet_server.ingest.roster import Difference, update_roster
from gpufleet_server.ingest.statistics import Tally
from gpufleet_server.store.schema import events, gpus, nodes, samples, states, streams

# These run for every report, so they are compiled once.
_DIALECT = sqlite.dialect(paramstyle="qmark")
_NAMED = sqlite.dialect(paramstyle="named")


def _keep_first(table: Table) -> str:
    return str(sqlite.insert(table).on_conflict_do_nothing().compile(dialect=_DIALECT))


_STANDING = (
    *("interval_ms", "driver_state", "driver_since", "driver_detail", "clock_offset", "roster_digest", "last_seen"),
    *("backlog_reports", "backlog_bytes", "backlog_dropped"),
)
_THIS_STREAM = (streams.c.node_id == bindparam("node")) & (streams.c.stream == bindparam("name"))
_ADD_SAMPLES = _keep_first(samples)
_ADD_STATES = _keep_first(states)
_LAST_SEQ = str(select(streams.c.last_seq).where(_THIS_STREAM).compile(dialect=_NAMED))
_UPDATE_STREAM = str(update(streams).where(_THIS_STREAM).compile(dialect=_NAMED, column_keys=["last_seq", "last_seen"]))
_UPDATE_NODE = str(
    update(nodes)
    .where(nodes.c.node_id == bindparam("node"))
    .values(clock_measured=func.coalesce(bindparam("measured"), nodes.c.clock_measured))
    .compile(dialect=_NAMED, column_keys=["clock_measured", *_STANDING])
)
_SAW_SAMPLE = str(
    update(gpus)
    .where(gpus.c.gpu_id == bindparam("gpu"))
    .values(last_sample=func.max(func.coalesce(gpus.c.last_sample, literal_column("0")), bindparam("at")))
    .compile(dialect=_NAMED)
)


def record(connection: Connection, memory: Memory, prepared: Prepared) -> tuple[wire.Ack, Tally]:
    """Store a report, or find that it is stored already: the answer, and what was added.

    Problem where it can't be stored: then roll back, and let `memory` forget the node.
    """
    report = prepared.report
    node = memory.get(connection, report.node) or _new_node(connection, memory, prepared)
    last_seq = _last_seq(connection, node, report.stream)
    if last_seq is not None and report.seq <= last_seq:
        return _ack(node, prepared, duplicate=True), Tally()
    before, node.correction = node.clock_offset, _correction(node, prepared)
    differences = _roster(connection, node, prepared)
    ack, tally = _ack(node, prepared, duplicate=False), Tally()
    _add_unseen_gpus(connection, node, prepared)
    _add_samples(connection, node, prepared, tally)
    _add_states(connection, node, prepared, tally)
    rows = [*_events(node, report), *_derived(node, report, before, differences)]
    tally.events = _add_events(connection, node, rows, prepared.received_at)
    _touch_node(connection, node, prepared)
    _touch_stream(connection, node, prepared, is_new=last_seq is None)
    return ack, tally


def _last_seq(connection: Connection, node: Node, stream: str) -> int | None:
    found = connection.exec_driver_sql(_LAST_SEQ, {"node": node.node_id, "name": stream}).scalar_one_or_none()
    return int(found) if found is not None else None


def _ack(node: Node, prepared: Prepared, *, duplicate: bool) -> wire.Ack:
    report = prepared.report
    named = (*(gpu for block in report.samples for gpu in block.gpus), *(state.gpu for state in report.states))
    lacking = report.roster_digest != node.roster_digest or any(gpu not in node.gpus for gpu in named)
    return wire.Ack(
        seq=report.seq,
        duplicate=duplicate,
        roster_wanted=lacking and report.roster is None,
        clock_offset=node.clock_offset if prepared.measured is None else prepared.measured,
        server_time=prepared.received_at,
    )


def _new_node(connection: Connection, memory: Memory, prepared: Prepared) -> Node:
    report, now = prepared.report, prepared.received_at
    row = {"uuid": report.node, "hostname": prepared.hostname, "facts": {}, "first_seen": now}
    row |= _standing(report, offset=0, now=now)
    node_id = connection.execute(insert(nodes).values(row).returning(nodes.c.node_id)).scalar_one()
    node = Node(node_id, Correction(0), "", {})
    memory.put(report.node, node)
    return node


def _correction(node: Node, prepared: Prepared) -> Correction:
    if prepared.measured is not None:
        return node.correction.after(prepared.measured)
    check_created(prepared.report.created, node.clock_offset, prepared.received_at)
    return node.correction


def _standing(report: wire.Report, offset: int, now: int) -> dict[str, Any]:
    return {
        "interval_ms": report.interval,
        "driver_state": report.driver.state,
        "driver_since": max(0, report.driver.since + offset),
        "driver_detail": report.driver.detail,
        "clock_offset": offset,
        "backlog_reports": report.backlog.reports,
        "backlog_bytes": report.backlog.bytes,
        "backlog_dropped": report.backlog.dropped,
        "last_seen": now,
    }


def _touch_node(connection: Connection, node: Node, prepared: Prepared) -> None:
    values = _standing(prepared.report, node.clock_offset, prepared.received_at)
    values |= {"node": node.node_id, "roster_digest": node.roster_digest, "measured": prepared.measured}
    connection.exec_driver_sql(_UPDATE_NODE, values)


def _touch_stream(connection: Connection, node: Node, prepared: Prepared, *, is_new: bool) -> None:
    report = prepared.report
    values = {"last_seq": report.seq, "last_seen": prepared.received_at}
    if is_new:
        connection.execute(insert(streams), values | {"node_id": node.node_id, "stream": report.stream})
    else:
        connection.exec_driver_sql(_UPDATE_STREAM, values | {"node": node.node_id, "name": report.stream})


def _roster(connection: Connection, node: Node, prepared: Prepared) -> list[Difference]:
    report = prepared.report
    if report.roster is None:
        return []
    node.roster_digest = report.roster_digest or wire.digest(report.roster)
    return update_roster(connection, node, report.roster, report.created.wall + node.clock_offset)


def _add_unseen_gpus(connection: Connection, node: Node, prepared: Prepared) -> None:
    report = prepared.report
    named = [gpu for block in report.samples for gpu in block.gpus]
    named += [state.gpu for state in report.states]
    named += [event.gpu for event in report.events if event.gpu is not None]
    add_gpus(connection, node, named, report.created.wall + node.clock_offset)


def _add_samples(connection: Connection, node: Node, prepared: Prepared, tally: Tally) -> None:
    tally.unknown_metrics.update(unknown(prepared.report.samples))
    for block in prepared.blocks:
        gpu_ids = [node.gpus[uuid].gpu_id for uuid in block.gpus]
        rows = list(block.rows(gpu_ids, node.clock_offset))
        added = connection.exec_driver_sql(_ADD_SAMPLES, rows).rowcount
        tally.samples += added
        tally.collisions += len(rows) - added
        tally.values += int(np.count_nonzero(~block.absent))
        last = int(block.times[-1]) + node.clock_offset
        connection.exec_driver_sql(_SAW_SAMPLE, [{"gpu": gpu_id, "at": last} for gpu_id in gpu_ids])


def _add_states(connection: Connection, node: Node, prepared: Prepared, tally: Tally) -> None:
    reported = prepared.report.states
    tally.unknown_metrics.update(state.metric for state in reported if state.metric not in BY_NAME)
    rows = list(changes.values(node, reported, node.clock_offset))
    for block in prepared.blocks:
        rows += changes.absences(node, block, node.clock_offset)
    if rows:
        tally.states = connection.exec_driver_sql(_ADD_STATES, rows).rowcount


def _add_events(connection: Connection, node: Node, rows: list[dict[str, Any]], received_at: int) -> int:
    if rows:
        same = {"node_id": node.node_id, "received_at": received_at}
        connection.execute(insert(events), [row | same for row in rows])
    return len(rows)


def _events(node: Node, report: wire.Report) -> Iterator[dict[str, Any]]:
    for event in report.events:
        yield _event(node, event, event.at) | {"code": event.code, "source": event.source}


def _derived(
    node: Node, report: wire.Report, offset_before: int, differences: Iterable[Difference]
) -> Iterator[dict[str, Any]]:
    for difference in (*differences, *_clock(offset_before, node.clock_offset)):
        yield _event(node, difference, report.created.wall) | {"code": None, "source": "server"}


def _event(node: Node, told: wire.Event | Difference, at: int) -> dict[str, Any]:
    return {
        "gpu_id": node.gpus[told.gpu].gpu_id if told.gpu is not None else None,
        "partition": told.partition,
        "ts": at + node.clock_offset,
        "kind": told.kind,
        "message": told.message[:2048],
        "detail": told.detail,
    }


def _clock(before: int, after: int) -> Iterator[Difference]:
    if turned_large(before, after):
        way = "behind" if after > 0 else "ahead of"
        text = f"the node's clock is {abs(after) / SECOND:.1f} s {way} the server's; its times are corrected"
        yield Difference("clock_offset", text, detail={"offset_s": after / SECOND})
