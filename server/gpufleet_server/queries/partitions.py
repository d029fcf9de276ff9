"""Partitions of GPUs: what they are, their newest values, and where their samples lie."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from gpufleet_agent.catalogue import EVERY_SAMPLE, Metric
from gpufleet_agent.wire import Partition as WirePartition
from sqlalchemy import Connection, select

from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries import points, rollup
from gpufleet_server.queries.latest import NOT_OBSERVED, Reading, word
from gpufleet_server.queries.rollup import Points
from gpufleet_server.store.schema import gpus, nodes, partitions

METRICS = tuple(metric for metric in EVERY_SAMPLE if metric.of_partitions)
_NAMES = [metric.name for metric in METRICS]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Partition:
    """A partition: `facts` has all fields of wire.Partition, `metrics` its newest sample, which ended at `at` (µs)."""

    facts: dict[str, Any]
    first_seen: int
    at: int | None
    metrics: dict[str, Reading]


@dataclasses.dataclass(frozen=True, slots=True)
class Located:
    """Which partition a name means, of which GPU if that is known, where its samples are, and how often they come."""

    uuid: str
    gpu: str | None
    node_id: int
    slot: int
    interval_ms: int


def of_gpu(connection: Connection, gpu_id: int, node_id: int, at: int | None, interval_ms: int) -> list[Partition]:
    """The partitions a GPU has, as GPU instances are numbered. `at`: its own newest sample, with which theirs came."""
    query = select(partitions).where(partitions.c.gpu_id == gpu_id, partitions.c.removed_at.is_(None))
    rows = connection.execute(query).all()
    begin, end = (at - 2000 * interval_ms, at) if at is not None and rows else (0, 0)
    block = points.samples(connection, node_id, _NAMES, begin, end)
    return sorted((_partition(row, rollup.of_slot(block, row.slot)) for row in rows), key=_place)


def locate(connection: Connection, name: str) -> Located:
    """The partition of this UUID, where it is now. Problem 404 if there is none."""
    here = partitions.join(nodes, nodes.c.node_id == partitions.c.node_id)
    tables = here.outerjoin(gpus, gpus.c.gpu_id == partitions.c.gpu_id)
    columns = (
        partitions.c.uuid,
        gpus.c.uuid.label("gpu"),
        partitions.c.node_id,
        partitions.c.slot,
        nodes.c.interval_ms,
    )
    order = (partitions.c.removed_at.is_not(None), partitions.c.removed_at.desc(), partitions.c.node_id.desc())
    row = connection.execute(
        select(*columns).select_from(tables).where(partitions.c.uuid == name).order_by(*order).limit(1)
    ).first()
    if row is None:
        raise Problem(404, f"no partition has the UUID {name!r}", "id")
    return Located(*row)


def reason(metric: Metric, found: Points, at: int) -> str:
    """Why a partition has no value of a metric in that sample."""
    column = found.columns.get(metric.name)
    if column is None:
        return NOT_OBSERVED
    why = metric.reason(int(column[at]))
    return NOT_OBSERVED if why is None else word(why)


def _partition(row: Any, found: Points) -> Partition:
    at = int(found.times[-1]) if len(found.times) else None
    facts = {name: row.facts.get(name) for name in WirePartition.__struct_fields__}
    facts |= {"uuid": row.uuid, "absent": row.facts.get("absent") or {}}
    readings = {metric.name: _reading(metric, found, at) for metric in METRICS}
    return Partition(facts=facts, first_seen=row.first_seen, at=at, metrics=readings)


def _reading(metric: Metric, found: Points, at: int | None) -> Reading:
    if at is None:
        return Reading(metric, None, NOT_OBSERVED, None)
    duration, column = int(found.durations[-1]), found.columns.get(metric.name)
    if column is None or not rollup.present(metric, column[-1:])[0]:
        return Reading(metric, None, reason(metric, found, -1), at, duration)
    return Reading(metric, int(column[-1]), None, at, duration)


def _place(partition: Partition) -> tuple[int, int, str]:
    numbers: Sequence[int | None] = (partition.facts["gpu_instance"], partition.facts["compute_instance"])
    gpu, compute = (1 << 31 if number is None else number for number in numbers)
    return gpu, compute, str(partition.facts["uuid"])
