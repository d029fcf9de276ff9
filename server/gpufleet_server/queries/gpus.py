"""GPUs: a listing with their newest samples, and one of them with everything that is known."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import EVERY_SAMPLE
from gpufleet_agent.wire import Gpu as WireGpu
from gpufleet_agent.wire import Partition as WirePartition
from sqlalchemy import ColumnElement, Connection, Row, Select, func, or_, select

from gpufleet_server.domain import use
from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.state import GpuState
from gpufleet_server.queries import condition, filters, latest, paging
from gpufleet_server.queries.filters import GpuFilter
from gpufleet_server.queries.latest import Reading
from gpufleet_server.queries.paging import CountedPage, Key, Order
from gpufleet_server.queries.present import Ints, Present, present
from gpufleet_server.store.newest import newest
from gpufleet_server.store.schema import gpus, nodes, partitions


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU. Memory in bytes; `at` is the time of its newest sample, µs."""

    gpu_id: int
    uuid: str
    node_id: str
    hostname: str
    site: str | None
    room: str | None
    rack: str | None
    index: int | None
    state: GpuState
    simulated: bool
    vendor: str | None
    model: str | None
    serial: str | None
    pci_address: str | None
    memory_total: int | None
    mig_mode: str | None
    at: int | None
    metrics: dict[str, Reading]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GpuDetail:
    """A GPU with every metric in `gpu.metrics`, its identity (all fields of wire.Gpu), and its partitions."""

    gpu: Gpu
    first_seen: int
    removed_at: int | None
    identity: dict[str, Any]
    absent: dict[str, str]
    partitions: list[dict[str, Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Located:
    """Which GPU a name means, and how often its node samples."""

    gpu_id: int
    uuid: str
    interval_ms: int


_PLACE = [
    *paging.nulls_last(nodes.c.site, str),
    Key(nodes.c.hostname, str),
    *paging.nulls_last(gpus.c.position, int),
    Key(gpus.c.gpu_id, int),
]
_SORTS = {
    "hostname": (nodes.c.hostname, str),
    "index": (gpus.c.position, int),
    "model": (gpus.c.model, str),
    "serial": (gpus.c.serial, str),
    "id": (gpus.c.uuid, str),
    "memory_total": (gpus.c.memory_total, int),
}
_AT = "at"
_BEYOND = (1 << 63) - 1
_SAMPLED = frozenset({_AT, *(metric.name for metric in EVERY_SAMPLE)})
# What a listing may be sorted by; `-` in front turns it round.
SORTS: tuple[str, ...] = ("site", "state", *_SORTS, _AT, *(metric.name for metric in EVERY_SAMPLE))


def listing(
    connection: Connection,
    wanted: GpuFilter,
    now: int,
    *,
    limit: int,
    sort: str = "site",
    cursor: str | None = None,
) -> CountedPage[Gpu]:
    """GPUs in an order of SORTS, then by site, hostname and index. Those without a value come last either way."""
    conditions, total = filters.of_gpus(wanted, now), None
    query = select(gpus.c.gpu_id).join_from(gpus, nodes, gpus.c.node_id == nodes.c.node_id)
    if wanted.use:
        used = _used(connection, wanted, now)
        conditions.append(gpus.c.gpu_id.in_(select(filters.given(connection, used, used).c.gpu_id)))
        total = len(used) if _is_of_fleet(wanted) else None
    value = None
    if sort.lstrip("-") in _SAMPLED:
        query, value = _valued(connection, query, wanted, now, sort, limit if cursor is None else None)
    # First which GPUs, then all of them: a row holds a whole identity, too much to sort a fleet by.
    order = _order(sort, now, value)
    found = connection.execute(paging.page(query.where(*conditions), order, limit, cursor)).all()
    rows, following = paging.cut(found, order, limit)
    total = _count(connection, wanted, conditions) if total is None else total
    return CountedPage(_these(connection, [row.gpu_id for row in rows], now), following, total)


def _used(connection: Connection, wanted: GpuFilter, now: int) -> Ints:
    """The ids of the GPUs of these sites and models that report, and by their newest samples are used so."""
    fleet = present(connection, now, use.metrics())
    those = fleet.fresh & fleet.among(wanted.site, wanted.model)
    return fleet.gpus.gpu_id[those & np.isin(use.use(fleet.stored), wanted.use)]


def _valued(
    connection: Connection, query: Select[Any], wanted: GpuFilter, now: int, sort: str, first: int | None
) -> tuple[Select[Any], ColumnElement[int]]:
    """The query with the value that it is to be sorted by; for the `first` rows and one more only with those."""
    name = sort.lstrip("-")
    if first is not None and name != _AT and _is_of_fleet(wanted) and not wanted.use:
        foremost = _foremost(present(connection, now, [name]), wanted, name, first, descending=sort != name)
        if foremost is not None:
            given = filters.given(connection, *foremost)
            return query.join(given, given.c.gpu_id == gpus.c.gpu_id), given.c.value
    sampled = newest([name] if name != _AT else [])
    joined = query.outerjoin(sampled, sampled.c.gpu_id == gpus.c.gpu_id)
    return joined, sampled.c["ts" if name == _AT else name]


def _foremost(
    fleet: Present, wanted: GpuFilter, name: str, first: int, *, descending: bool
) -> tuple[Ints, Ints] | None:
    """Ids and values of the GPUs that may be among the first ones and one more; None where too few have a value."""
    those = fleet.owned & fleet.among(wanted.site, wanted.model) & fleet.here(name)
    ids, values = fleet.gpus.gpu_id[those], fleet.stored[name][those]
    if len(values) <= first:
        return None
    rising = -values if descending else values
    # Equal values stand in the order of their places, which the database knows: all of them are left in.
    foremost = rising <= np.partition(rising, first)[first]
    return ids[foremost], values[foremost]


def _is_of_fleet(wanted: GpuFilter) -> bool:
    """Whether it only narrows to sites, models and uses."""
    return wanted == GpuFilter(site=wanted.site, model=wanted.model, use=wanted.use)


def _these(connection: Connection, gpu_ids: Sequence[int], now: int) -> list[Gpu]:
    rows = {row.gpu_id: row for row in connection.execute(_gpus(now).where(gpus.c.gpu_id.in_(gpu_ids)))}
    return _with_samples(connection, [rows[gpu_id] for gpu_id in gpu_ids])


def _count(connection: Connection, wanted: GpuFilter, conditions: filters.Conditions) -> int:
    alone = wanted == GpuFilter(model=wanted.model)
    tables = gpus if alone else gpus.join(nodes, gpus.c.node_id == nodes.c.node_id)
    return connection.execute(select(func.count()).select_from(tables).where(*conditions)).scalar_one()


def of_node(connection: Connection, node_id: int, now: int) -> list[Gpu]:
    """The GPUs that a node holds, by index."""
    query = _gpus(now).where(gpus.c.node_id == node_id, gpus.c.removed_at.is_(None))
    rows = connection.execute(query.order_by(*(key.expression for key in _PLACE))).all()
    return _with_samples(connection, rows)


def one(connection: Connection, name: str, now: int) -> GpuDetail:
    """The GPU of this UUID or serial, where it is now. Problem 404 if there is none, 409 if a serial is of several."""
    row = _find(connection, name, now)
    identity = _complete(row.identity, WireGpu.__struct_fields__)
    return GpuDetail(
        gpu=_gpu(row, latest.of_all(connection, row.gpu_id)),
        first_seen=row.first_seen,
        removed_at=row.removed_at,
        absent=identity.pop("absent") or {},
        partitions=_partitions(connection, row.gpu_id),
        identity=identity,
    )


def locate(connection: Connection, name: str, now: int) -> Located:
    """The same GPU as `one`, without what is known of it."""
    row = _find(connection, name, now)
    return Located(row.gpu_id, row.uuid, row.interval_ms)


def _find(connection: Connection, name: str, now: int) -> Row[Any]:
    here_first = [gpus.c.removed_at.is_not(None), gpus.c.removed_at.desc(), gpus.c.gpu_id.desc()]
    query = _gpus(now).where(or_(gpus.c.uuid == name, gpus.c.serial == name)).order_by(*here_first)
    rows = connection.execute(query.limit(100)).all()
    rows = [row for row in rows if row.uuid == name] or rows
    if not rows:
        raise Problem(404, f"no GPU has the UUID or serial {name!r}", "id")
    present = {row.uuid for row in rows if row.removed_at is None} or {rows[0].uuid}
    if len(present) > 1:
        raise Problem(409, f"{name!r} is the serial of {', '.join(sorted(present))}: ask for one by its UUID", "id")
    return rows[0]


def _order(sort: str, now: int, value: ColumnElement[int] | None) -> Order:
    name, descending = sort.lstrip("-"), sort.startswith("-")
    if name == "state":
        return Order(sort, [Key(condition.severity(condition.gpu_state(now)), int, descending), *_PLACE])
    if name == "site":
        return Order(sort, [*paging.nulls_last(nodes.c.site, str, descending=descending), *_PLACE[2:]])
    if value is not None:
        return Order(sort, [_by_value(value, descending=descending), *_PLACE])
    column, kind = _SORTS[name]
    return Order(sort, [*paging.nulls_last(column, kind, descending=descending), *_PLACE])


def _by_value(column: ColumnElement[int], *, descending: bool) -> Key:
    """Like `nulls_last`, but the value is read once: beyond all others stands who has none."""
    return Key(func.coalesce(column, -_BEYOND if descending else _BEYOND), int, descending)


def _gpus(now: int) -> Select[Any]:
    return select(
        gpus,
        condition.gpu_state(now).label("state"),
        nodes.c.uuid.label("node_uuid"),
        nodes.c.interval_ms,
        *(nodes.c[name] for name in ("hostname", "site", "room", "rack", "simulated")),
    ).join_from(gpus, nodes, gpus.c.node_id == nodes.c.node_id)


def _with_samples(connection: Connection, rows: Any) -> list[Gpu]:
    readings = latest.of_samples(connection, [row.gpu_id for row in rows])
    return [_gpu(row, readings[row.gpu_id]) for row in rows]


def _gpu(row: Row[Any], metrics: dict[str, Reading]) -> Gpu:
    return Gpu(
        gpu_id=row.gpu_id,
        uuid=row.uuid,
        node_id=row.node_uuid,
        hostname=row.hostname,
        site=row.site,
        room=row.room,
        rack=row.rack,
        index=row.position,
        state=GpuState(row.state),
        simulated=row.simulated,
        vendor=row.vendor,
        model=row.model,
        serial=row.serial,
        pci_address=row.pci_address,
        memory_total=row.memory_total,
        mig_mode=row.identity.get("mig_mode"),
        at=latest.sampled_at(metrics),
        metrics=metrics,
    )


def _partitions(connection: Connection, gpu_id: int) -> list[dict[str, Any]]:
    query = select(partitions).where(partitions.c.gpu_id == gpu_id, partitions.c.removed_at.is_(None))
    rows = connection.execute(query.order_by(partitions.c.uuid)).all()
    return [_complete(row.facts, WirePartition.__struct_fields__) | {"first_seen": row.first_seen} for row in rows]


def _complete(stored: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    return {field: stored.get(field, {} if field == "absent" else None) for field in fields}
