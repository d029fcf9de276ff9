"""How large each tier is, from when to when it reaches, and what keeping it costs."""

import dataclasses
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Table, func, select, text
from sqlalchemy.exc import DBAPIError

from gpufleet_server.store.engine import Store
from gpufleet_server.store.retention import Keep
from gpufleet_server.store.schema import events, gpus, nodes, states
from gpufleet_server.store.server_minutes import server_hours, server_minutes
from gpufleet_server.store.tiers import (
    DAILY,
    DAY,
    HOURLY,
    SEALED,
    TIERS,
    Tier,
    fleet_hours,
    fleet_minutes,
    fleet_six_hours,
    fleet_states,
    fleet_ten_minutes,
    recent,
)
from gpufleet_server.store.usage import (
    holders,
    usage,
    usage_daily,
    usage_fleet,
    usage_fleet_hours,
    usage_kind_days,
    usage_kind_hours,
    usage_recent,
    usage_six_hours,
    usage_waste_days,
    usage_waste_hours,
    usage_weeks,
)

# Up to so many bytes a table's rows are counted; of a larger one the database's own estimate is taken.
_COUNTED = 256 << 20
# From which column to which a table reaches, where that is not `ts`.
_ENDS = {
    usage_recent: ("received_at", "received_at"),
    usage: ("begin", "begin"),
    usage_daily: ("day", "day"),
    usage_fleet: ("day", "day"),
    usage_fleet_hours: ("hour", "hour"),
    usage_six_hours: ("at", "at"),
    usage_weeks: ("at", "at"),
    usage_kind_hours: ("hour", "hour"),
    usage_kind_days: ("day", "day"),
    usage_waste_hours: ("at", "at"),
    usage_waste_days: ("at", "at"),
    server_minutes: ("at", "at"),
    server_hours: ("at", "at"),
    holders: ("first_seen", "last_seen"),
}
# From less than this no daily growth is told, µs.
_LEAST_SPAN = 3_600_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class TableSize:
    """One table. Times in µs, None where it is empty; `keep` is 0 for ever, and None for what no setting removes.

    `per_day` are the bytes by which it grows at the present size of the fleet, `steady` those it will have in the end
    (None: it grows for ever, or that can't be told).
    """

    name: str
    rows: int
    rows_estimated: bool
    bytes: int
    oldest: int | None
    newest: int | None
    keep: int | None
    per_gpu_day: float | None
    per_day: float | None
    steady: float | None


@dataclasses.dataclass(frozen=True, slots=True)
class StoreSize:
    """A store, in bytes. `method` is how tables were measured; what can't be read is None."""

    engine: str
    method: str
    nodes: int
    gpus: int
    tables: list[TableSize]
    database: int
    wal: int | None
    free: int | None


@dataclasses.dataclass(frozen=True, slots=True)
class _Extent:
    """From when to when a table reaches (µs), and the GPU-days in it, where its rows tell."""

    oldest: int | None
    newest: int | None
    gpu_days: float | None


def measure(store: Store, keep: Keep, now: int) -> StoreSize:
    """The sizes at `now` (µs), with what `keep` would cost. It reads whole indices: not for every minute."""
    with store.reading() as connection:
        if store.dialect == "postgresql":
            connection.execute(text("SET LOCAL statement_timeout = 0"))
        method = "pg_total_relation_size" if store.dialect == "postgresql" else _sqlite_method(connection)
        fleet = _count(connection, nodes), _live_gpus(connection)
        tables = [_table(connection, table, length, fleet, method, now) for table, length in _settings(keep)]
        database = database_bytes(connection)
        free = _free(connection)
    return StoreSize(store.dialect, method, *fleet, tables, database, _wal(store), free)


def _settings(keep: Keep) -> Iterable[tuple[Table, int | None]]:
    return (
        (recent, None),
        (SEALED.table, keep.samples),
        (HOURLY.table, keep.hourly),
        (DAILY.table, keep.daily),
        (fleet_minutes, keep.fleet_minutes),
        (fleet_ten_minutes, keep.fleet_minutes),
        (fleet_hours, keep.fleet_hours),
        (fleet_six_hours, keep.fleet_hours),
        (fleet_states, keep.fleet_minutes),
        (usage_recent, None),
        (usage, keep.usage),
        (usage_daily, keep.daily),
        (usage_fleet, keep.daily),
        (usage_fleet_hours, keep.fleet_minutes),
        (usage_six_hours, keep.fleet_minutes),
        (usage_weeks, keep.daily),
        (usage_kind_hours, keep.fleet_minutes),
        (usage_kind_days, keep.daily),
        (usage_waste_hours, keep.fleet_minutes),
        (usage_waste_days, keep.usage),
        (holders, keep.usage),
        (server_minutes, keep.fleet_minutes),
        (server_hours, keep.fleet_hours),
        (states, 0),
        (events, 0),
    )


def _table(
    connection: Connection, table: Table, keep: int | None, fleet: tuple[int, int], method: str, now: int
) -> TableSize:
    size = _bytes(connection, table, method)
    estimated = connection.dialect.name == "postgresql" and size > _COUNTED
    rows = _estimate(connection, table) if estimated else _count(connection, table)
    extent = _extent(connection, table, rows, fleet, now, counted=not estimated)
    per_gpu_day = size / extent.gpu_days if extent.gpu_days else None
    per_day = _per_day(size, extent, per_gpu_day, fleet[1])
    steady = per_day * keep / DAY if keep and per_day is not None else None
    return TableSize(
        table.name, rows, estimated, size, extent.oldest, extent.newest, keep, per_gpu_day, per_day, steady
    )


def _per_day(size: int, extent: _Extent, per_gpu_day: float | None, gpus: int) -> float | None:
    if per_gpu_day is not None:
        return per_gpu_day * gpus
    if extent.oldest is None or extent.newest is None or extent.newest - extent.oldest < _LEAST_SPAN:
        return None
    return size * DAY / (extent.newest - extent.oldest)


def _extent(
    connection: Connection, table: Table, rows: int, fleet: tuple[int, int], now: int, *, counted: bool
) -> _Extent:
    tier = next((tier for tier in TIERS if tier.table is table), None)
    if tier is not None:
        oldest, newest = _by_node(connection, table.c.span, table.c.span)
        days = _counted_days(connection, tier) if counted else rows * fleet[1] / max(fleet[0], 1) * tier.span / DAY
        return _Extent(oldest, min(newest + tier.span, now) if newest is not None else None, days)
    if table is recent:
        return _Extent(*_by_node(connection, table.c.first, table.c.last), None)
    if table in _ENDS:
        first, last = (table.c[name] for name in _ENDS[table])
    else:
        first = last = table.c.ts
    if table in (usage, usage_daily):
        return _Extent(*_by_node(connection, first, last), None)
    return _Extent(*connection.execute(select(func.min(first), func.max(last))).one(), None)


def _by_node(connection: Connection, first: Any, last: Any) -> tuple[int | None, int | None]:
    """The least and the greatest, node by node: their index begins with the node."""
    node_id = first.table.c.node_id
    ends = [
        select(each).where(node_id == nodes.c.node_id).scalar_subquery() for each in (func.min(first), func.max(last))
    ]
    each = select(ends[0].label("first"), ends[1].label("last")).select_from(nodes).subquery()
    oldest, newest = connection.execute(select(func.min(each.c.first), func.max(each.c.last))).one()
    return oldest, newest


def _counted_days(connection: Connection, tier: Tier) -> float:
    """GPU-days: of samples each hour begun counts, of rollups each point."""
    points = tier.table.c.points if tier.step is not None else 1
    total = connection.execute(select(func.sum(func.length(tier.table.c.slots) / 2 * points))).scalar()
    return float(total or 0) * (tier.step or tier.span) / DAY


def _live_gpus(connection: Connection) -> int:
    return connection.execute(select(func.count()).where(gpus.c.removed_at.is_(None))).scalar_one()


def _count(connection: Connection, table: Table) -> int:
    return connection.execute(select(func.count()).select_from(table)).scalar_one()


def _estimate(connection: Connection, table: Table) -> int:
    # `recent` is never analysed, and what others hold may not have been counted since a crash: take either.
    query = text(
        "SELECT coalesce(sum(greatest(s.n_live_tup, CASE WHEN s.n_tup_ins = 0 THEN c.reltuples ELSE 0 END)), 0) "
        "FROM pg_class c JOIN pg_stat_all_tables s ON s.relid = c.oid WHERE c.oid = CAST(:name AS regclass) "
        "OR c.oid IN (SELECT relid FROM pg_partition_tree(CAST(:name AS regclass)) WHERE isleaf)"
    )
    return int(connection.execute(query, {"name": table.name}).scalar_one())


def _bytes(connection: Connection, table: Table, method: str) -> int:
    query = {
        "pg_total_relation_size": "SELECT coalesce(sum(pg_total_relation_size(relid)), "
        "pg_total_relation_size(CAST(:name AS regclass))) FROM pg_partition_tree(CAST(:name AS regclass))",
        "dbstat": "SELECT coalesce(sum(s.pgsize), 0) FROM sqlite_schema m JOIN dbstat s ON s.name = m.name "
        "WHERE m.tbl_name = :name AND s.aggregate = 1",
    }.get(method)
    if query is None:
        lengths = " + ".join(f'coalesce(length("{column.name}"), 0)' for column in table.c)
        query = f"SELECT coalesce(sum({lengths}), 0) FROM {table.name} WHERE :name <> ''"
    return int(connection.execute(text(query), {"name": table.name}).scalar_one())


def _sqlite_method(connection: Connection) -> str:
    options = connection.execute(text("SELECT compile_options FROM pragma_compile_options")).scalars()
    return "dbstat" if "ENABLE_DBSTAT_VTAB" in set(options) else "sum of lengths"


def database_bytes(connection: Connection) -> int:
    """Bytes that the database takes on disk, as it counts them itself."""
    if connection.dialect.name == "postgresql":
        query = "SELECT pg_database_size(current_database())"
    else:
        query = "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    return int(connection.execute(text(query)).scalar_one())


def _wal(store: Store) -> int | None:
    """In a transaction of its own: not everyone may ask PostgreSQL for it."""
    try:
        with store.reading() as connection:
            if store.dialect == "postgresql":
                return int(connection.execute(text("SELECT coalesce(sum(size), 0) FROM pg_ls_waldir()")).scalar_one())
            return _file(connection, "-wal").stat().st_size
    except (DBAPIError, OSError):
        return None


def _free(connection: Connection) -> int | None:
    """Of the disk that an SQLite file lies on; PostgreSQL does not tell."""
    if connection.dialect.name == "postgresql":
        return None
    try:
        return shutil.disk_usage(_file(connection, "").parent).free
    except OSError:
        return None


def _file(connection: Connection, ending: str) -> Path:
    name = connection.execute(text("SELECT file FROM pragma_database_list WHERE name = 'main'")).scalar_one()
    return Path(f"{name}{ending}")
