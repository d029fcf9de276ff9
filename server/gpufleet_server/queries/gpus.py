"""GPUs: a listing with their newest samples, and one of them with everything that is known."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from gpufleet_agent.wire import Gpu as WireGpu
from sqlalchemy import Connection, Row, Select, or_, select

from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.state import GpuState
from gpufleet_server.queries import condition, latest, partitions, selection
from gpufleet_server.queries.filters import GpuFilter
from gpufleet_server.queries.holder import Holding, Present, present
from gpufleet_server.queries.latest import Reading
from gpufleet_server.queries.paging import CountedPage
from gpufleet_server.queries.partitions import Partition
from gpufleet_server.queries.usage_intervals import begun
from gpufleet_server.store.schema import gpus, nodes


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """A GPU. Memory in bytes; `at` is the time of its newest sample, µs; of one that is lost, since when it is.

    `holdings`: who holds it now, or did when that was last seen; None where its node's agent does not tell, or where
    nobody looks at it. `holdings_at` is as of when, µs.
    """

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
    holdings: list[Holding] | None
    holdings_at: int | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class GpuDetail:
    """A GPU with every metric in `gpu.metrics`, its identity (all fields of wire.Gpu), and its partitions."""

    gpu: Gpu
    first_seen: int
    removed_at: int | None
    identity: dict[str, Any]
    absent: dict[str, str]
    partitions: list[Partition]


@dataclasses.dataclass(frozen=True, slots=True)
class Located:
    """Which GPU a name means, and how often its node samples."""

    gpu_id: int
    uuid: str
    interval_ms: int


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
    # First which GPUs, then all of them: a row holds a whole identity, too much to sort a fleet by.
    found = selection.page(connection, wanted, now, limit=limit, sort=sort, cursor=cursor)
    return CountedPage(_these(connection, found.items, now), found.next, found.total)


def _these(connection: Connection, gpu_ids: Sequence[int], now: int) -> list[Gpu]:
    rows = {row.gpu_id: row for row in connection.execute(_gpus(now).where(gpus.c.gpu_id.in_(gpu_ids)))}
    return _with_samples(connection, [rows[gpu_id] for gpu_id in gpu_ids])


def of_node(connection: Connection, node_id: int, now: int) -> list[Gpu]:
    """The GPUs that a node holds, by index."""
    query = _gpus(now).where(gpus.c.node_id == node_id, gpus.c.removed_at.is_(None))
    rows = connection.execute(query.order_by(*(key.expression for key in selection.PLACE))).all()
    return _with_samples(connection, rows)


def one(connection: Connection, name: str, now: int) -> GpuDetail:
    """The GPU of this UUID or serial, where it is now. Problem 404 if there is none, 409 if a serial is of several."""
    row = _find(connection, name, now)
    identity = _complete(row.identity, WireGpu.__struct_fields__)
    (gpu,) = _with_holders(connection, [row], {row.gpu_id: latest.of_all(connection, row.gpu_id)})
    return GpuDetail(
        gpu=dataclasses.replace(gpu, holdings=_since_when(connection, row, gpu.holdings)),
        first_seen=row.first_seen,
        removed_at=row.removed_at,
        absent=identity.pop("absent") or {},
        partitions=partitions.of_gpu(connection, row.gpu_id, row.node_id, gpu.at, row.interval_ms),
        identity=identity,
    )


def locate(connection: Connection, name: str, now: int) -> Located:
    """The same GPU as `one`, without what is known of it."""
    row = _find(connection, name, now)
    return Located(row.gpu_id, row.uuid, row.interval_ms)


def _find(connection: Connection, name: str, now: int) -> Row[Any]:
    here_first = [gpus.c.removed_at.is_not(None), gpus.c.removed_at.desc(), gpus.c.gpu_id.desc()]
    named = or_(gpus.c.uuid == name, gpus.c.serial == name)
    query = _gpus(now).add_columns(gpus.c.identity).where(named).order_by(*here_first)
    rows = connection.execute(query.limit(100)).all()
    rows = [row for row in rows if row.uuid == name] or rows
    if not rows:
        raise Problem(404, f"no GPU has the UUID or serial {name!r}", "id")
    present = {row.uuid for row in rows if row.removed_at is None} or {rows[0].uuid}
    if len(present) > 1:
        raise Problem(409, f"{name!r} is the serial of {', '.join(sorted(present))}: ask for one by its UUID", "id")
    return rows[0]


def _gpus(now: int) -> Select[Any]:
    # An identity is too long to be taken apart for one word of it.
    columns = [column for column in gpus.c if column is not gpus.c.identity]
    return select(
        *columns,
        gpus.c.identity["mig_mode"].as_string().label("mig_mode"),
        condition.gpu_state(now).label("state"),
        nodes.c.uuid.label("node_uuid"),
        nodes.c.interval_ms,
        *(nodes.c[name] for name in ("hostname", "site", "room", "rack", "simulated")),
    ).join_from(gpus, nodes, gpus.c.node_id == nodes.c.node_id)


def _with_samples(connection: Connection, rows: Any) -> list[Gpu]:
    return _with_holders(connection, rows, latest.of_samples(connection, [row.gpu_id for row in rows]))


def _with_holders(
    connection: Connection, rows: Sequence[Row[Any]], readings: Mapping[int, dict[str, Reading]]
) -> list[Gpu]:
    now = present(connection, {row.node_id for row in rows})
    lost = latest.lost_since(connection, [row.gpu_id for row in rows if row.lost])
    return [_gpu(row, readings[row.gpu_id], now.get(row.node_id), lost.get(row.gpu_id)) for row in rows]


def _since_when(connection: Connection, row: Row[Any], held: list[Holding] | None) -> list[Holding] | None:
    return held and [
        dataclasses.replace(
            each,
            begin=begun(connection, row.node_id, row.slot, each.partition or "", each.holder.holder_id, each.begin),
        )
        for each in held
    ]


def _gpu(row: Row[Any], metrics: dict[str, Reading], held: Mapping[int, Present] | None, lost_since: int | None) -> Gpu:
    now = held.get(row.slot) if held is not None else None
    # That nobody holds one at which nobody looks is not known.
    nobody: list[Holding] | None = [] if held is not None and row.state == GpuState.REPORTING else None
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
        mig_mode=row.mig_mode,
        at=lost_since or latest.sampled_at(metrics),
        metrics=metrics,
        holdings=now.holdings if now is not None else nobody,
        holdings_at=now.at if now is not None else None,
    )


def _complete(stored: dict[str, Any], fields: tuple[str, ...]) -> dict[str, Any]:
    return {field: stored.get(field, {} if field == "absent" else None) for field in fields}
