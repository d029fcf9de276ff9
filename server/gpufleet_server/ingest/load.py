"""Reads into the memory what the store knows of nodes, many at once; makes those that it does not know."""

import contextlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import BY_NAME
from sqlalchemy import Connection, Select, func, select
from sqlalchemy.dialects import postgresql

from gpufleet_server.domain.clock import Correction
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest import newest
from gpufleet_server.ingest.check import check_created
from gpufleet_server.ingest.columns import NUMBERS, PRESENT
from gpufleet_server.ingest.memory import SLURM_CLUSTER, STATES, Gpu, Memory, Newest, Node
from gpufleet_server.ingest.prepare import Prepared
from gpufleet_server.store.bulk import insert_new
from gpufleet_server.store.schema import gpus, nodes, partitions, states, streams
from gpufleet_server.store.tiers import latest
from gpufleet_server.store.usage import latest_usage

_AT_ONCE = 200


def load(connection: Connection, memory: Memory, reports: Sequence[Prepared]) -> None:
    """Have the nodes of these reports in the memory, and in the store. Where it fails they must be forgotten.

    A node of which nothing may be stored yet is not made.
    """
    lacking: dict[str, list[Prepared]] = {}
    for each in reports:
        if each.report.node not in memory.nodes:
            lacking.setdefault(each.report.node, []).append(each)
    # In one order for all servers: two that make each other's nodes would wait for ever.
    uuids = sorted(lacking)
    for begin in range(0, len(uuids), _AT_ONCE):
        part = uuids[begin : begin + _AT_ONCE]
        _nodes(connection, memory, part)
        first = {uuid: _first(lacking[uuid]) for uuid in part if uuid not in memory.nodes}
        unknown = {uuid: each for uuid, each in first.items() if each is not None}
        if unknown:
            _make(connection, list(unknown.values()))
            _nodes(connection, memory, list(unknown))


def _first(reports: Sequence[Prepared]) -> Prepared | None:
    """The first report that may be stored of a node whose clock has not been corrected yet."""
    for each in reports:
        with contextlib.suppress(Problem):
            check_unmeasured(each, 0)
            return each
    return None


def check_unmeasured(prepared: Prepared, offset: int) -> None:
    """Problem where a report whose request did not tell the clock has a time that can't be, corrected by `offset`."""
    if prepared.measured is None:
        check_created(prepared.report.created, offset, prepared.received_at)


def _nodes(connection: Connection, memory: Memory, uuids: Sequence[str]) -> None:
    columns = (nodes.c.uuid, nodes.c.node_id, nodes.c.version, nodes.c.clock_offset, nodes.c.clock_measured)
    cluster = nodes.c.facts[("labels", SLURM_CLUSTER)].as_string()
    query = select(*columns, nodes.c.roster_digest, nodes.c.site, nodes.c.simulated, cluster)
    by_id: dict[int, Node] = {}
    for uuid, node_id, version, offset, measured, digest, site, simulated, label in connection.execute(
        query.where(nodes.c.uuid.in_(uuids))
    ):
        correction = Correction(offset)
        node = Node(uuid, node_id, version, correction, measured, digest, site or "", simulated)
        node.slurm_cluster, by_id[node_id] = label or "", node
    memory.nodes.update((node.uuid, node) for node in by_id.values())
    if by_id:
        _load_parts(connection, memory, by_id)


def _load_parts(connection: Connection, memory: Memory, by_id: dict[int, Node]) -> None:
    ids = list(by_id)
    query = select(gpus.c.node_id, gpus.c.uuid, gpus.c.gpu_id, gpus.c.slot, gpus.c.model)
    by_gpu: dict[int, Gpu] = {}
    for node_id, uuid, gpu_id, slot, model in connection.execute(query.where(gpus.c.node_id.in_(ids))):
        by_gpu[gpu_id] = memory.add_gpu(by_id[node_id], uuid, gpu_id, slot, model or "")
    parted = select(partitions.c.node_id, partitions.c.uuid, partitions.c.slot)
    for node_id, uuid, slot in connection.execute(parted.where(partitions.c.node_id.in_(ids))):
        by_id[node_id].partitions[uuid] = slot
    mine = select(streams.c.node_id, streams.c.stream, streams.c.last_seq).where(streams.c.node_id.in_(ids))
    for node_id, stream, last_seq in connection.execute(mine):
        by_id[node_id].streams[stream] = last_seq
    for row in connection.execute(select(latest).where(latest.c.node_id.in_(ids))).mappings():
        by_id[row["node_id"]].newest = _newest(dict(row))
    using = select(latest_usage.c.node_id, latest_usage.c.at, func.length(latest_usage.c.pieces))
    for node_id, at, length in connection.execute(using.where(latest_usage.c.node_id.in_(ids))):
        by_id[node_id].usage_at, by_id[node_id].in_use = at, length > 0
    if by_gpu:
        _load_states(connection, memory, by_gpu, ids)


def _newest(row: dict[Any, Any]) -> Newest:
    ts, durations = np.frombuffer(row["ts"], "<i8").tolist(), np.frombuffer(row["durations"], "<i4").tolist()
    return Newest(ts, durations, tuple(row[name] for name in newest.COLUMNS))


def _load_states(connection: Connection, memory: Memory, by_gpu: dict[int, Gpu], ids: list[int]) -> None:
    table = memory.gpus
    for gpu_id, name, ts, value, reason in connection.execute(_newest_states(connection.dialect.name, ids)):
        row, number = by_gpu[gpu_id].row, NUMBERS.get(name)
        if number is not None:
            table.reasons[row, number] = PRESENT if reason is None else reason
            table.since[row, number] = ts
        elif name in STATES:
            table.told[row, STATES[name]] = value if value is not None else BY_NAME[name].lowest + (reason or 0)
            table.told_at[row, STATES[name]] = ts


def _newest_states(dialect: str, ids: list[int]) -> Select[Any]:
    """The newest row of each GPU's each metric."""
    key = (states.c.gpu_id, states.c.metric)
    of = gpus.c.node_id.in_(ids) & (gpus.c.gpu_id == states.c.gpu_id)
    if dialect == "sqlite":
        # Beside max() the other columns are of the row that has it.
        return select(*key, func.max(states.c.ts), states.c.value, states.c.reason).where(of).group_by(*key)
    columns = (*key, states.c.ts, states.c.value, states.c.reason)
    return select(*columns).where(of).ext(postgresql.distinct_on(*key)).order_by(*key, states.c.ts.desc())


def _make(connection: Connection, reports: Sequence[Prepared]) -> None:
    # Another server may be making the same node.
    insert_new(connection, nodes, [_new_node(each) for each in reports])


def _new_node(prepared: Prepared) -> dict[str, Any]:
    report, now = prepared.report, prepared.received_at
    return {
        "uuid": report.node,
        "hostname": prepared.hostname,
        "facts": {},
        "first_seen": now,
        "last_seen": now,
        "interval_ms": report.interval,
        "driver_state": report.driver.state,
        "driver_since": report.driver.since,
    }
