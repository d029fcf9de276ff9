"""The rows of nodes: compared and set once for all reports of a commit, which makes them the locks of their nodes."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, select

from gpufleet_server.ingest.memory import Node
from gpufleet_server.ingest.prepare import Prepared
from gpufleet_server.store.bulk import stage
from gpufleet_server.store.schema import nodes, streams
from gpufleet_server.store.upsert import Upsert, replace

_SET = (
    *("interval_ms", "driver_state", "driver_since", "driver_detail", "clock_offset", "clock_measured"),
    *("backlog_reports", "backlog_bytes", "backlog_dropped", "roster_digest", "last_seen"),
)
_COLUMNS = ("node_id", "version", *_SET)
_MARKS = ", ".join(f"{name} = :{name}" for name in _SET)
_ONE = f"UPDATE nodes SET version = version + 1, {_MARKS} WHERE node_id = :node_id"  # noqa: S608
_STAGED = ", ".join(f"{name} = given.{name}" for name in _SET)
_BY_INDEX = "SELECT " + ", ".join(
    f"set_config('enable_{way}', 'off', true)" for way in ("hashjoin", "mergejoin", "seqscan", "bitmapscan")
)
_STREAMS = Upsert(streams, {"last_seq": replace, "last_seen": replace})


def row(node: Node, prepared: Prepared) -> tuple[Any, ...]:
    """What a node's row says after its last report of a commit."""
    report, offset = prepared.report, node.clock_offset
    driver, backlog = report.driver, report.backlog
    return (
        *(node.node_id, node.version, report.interval),
        *(driver.state, max(0, driver.since + offset), driver.detail, offset, node.measured),
        *(backlog.reports, backlog.bytes, backlog.dropped, node.roster_digest, prepared.received_at),
    )


def compare_and_set(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> set[int]:
    """Set rows whose version is still the one that is remembered; the node_ids of the others."""
    if not rows:
        return set()
    ids = [each[0] for each in rows]
    done = _on_sqlite(connection, rows, ids) if connection.dialect.name == "sqlite" else _staged(connection, rows)
    return set(ids) - done


def write_streams(connection: Connection, rows: Iterable[tuple[int, str, int, int]]) -> None:
    """Keep the last number of streams: node_id, stream, last_seq, last_seen."""
    _STREAMS.execute(connection, list(rows))


def _on_sqlite(connection: Connection, rows: Sequence[tuple[Any, ...]], ids: list[int]) -> set[int]:
    # Nobody else can write meanwhile.
    now = dict(connection.execute(select(nodes.c.node_id, nodes.c.version).where(nodes.c.node_id.in_(ids))).all())
    same = [dict(zip(_COLUMNS, each, strict=True)) for each in rows if now.get(each[0]) == each[1]]
    if same:
        connection.exec_driver_sql(_ONE, same)
    return {each["node_id"] for each in same}


def _staged(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> set[int]:
    given = stage(connection, nodes, _COLUMNS, rows)
    # The planner knows nothing of the staged rows; reading all nodes to find a few hundred is never right.
    connection.exec_driver_sql(_BY_INDEX)
    found = connection.exec_driver_sql(
        f"UPDATE nodes SET version = nodes.version + 1, {_STAGED} "  # noqa: S608
        f"FROM (SELECT * FROM {given.name} ORDER BY node_id) given "
        "WHERE nodes.node_id = given.node_id AND nodes.version = given.version RETURNING nodes.node_id"
    )
    return set(found.scalars())
