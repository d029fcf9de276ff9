"""Removes what is older than it is kept for, so that a store does not grow until its disk is full."""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator

from sqlalchemy import Column, Connection, Table, delete, func, inspect, select, text, tuple_
from sqlalchemy.exc import OperationalError

from gpufleet_server.store import partitions
from gpufleet_server.store.engine import Store
from gpufleet_server.store.leases import ROLLUPS, USAGE, alone
from gpufleet_server.store.server_minutes import server_hours, server_minutes
from gpufleet_server.store.tiers import (
    DAILY,
    DAY,
    HOUR,
    HOURLY,
    SEALED,
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
    usage_six_hours,
    usage_waste_days,
    usage_waste_hours,
    usage_weeks,
)

_LOG = logging.getLogger(__name__)

_ROWS = 500
# Of these six hours and weeks are added up: not while some of them go.
_PARTS = (usage_fleet, usage_fleet_hours)


def _always() -> bool:
    return True


@dataclasses.dataclass(frozen=True, slots=True)
class Keep:
    """For how long each tier is kept, µs; 0: for ever. Events, states and rosters are kept for ever.

    `fleet_minutes`: and each ten of them, hours of the fleet's usage, and what servers did by the minute, of which
    hours are kept as long as `fleet_hours`. `usage`: intervals, holders that were not seen since, the worst workloads;
    each day's usage is kept as long as `daily` is.
    """

    samples: int = 30 * DAY
    hourly: int = 2 * 365 * DAY
    daily: int = 0
    fleet_minutes: int = 90 * DAY
    fleet_hours: int = 0
    usage: int = 2 * 365 * DAY


def retain(store: Store, keep: Keep, now: int, go_on: Callable[[], bool] = _always) -> dict[str, int]:
    """Remove what is too old at `now`, a little in each transaction while `go_on` says so.

    How many of each table that was: partitions of a tier of blocks on PostgreSQL, rows else; only what is not 0.
    OperationalError, after all the rest is done, where readers are in the way of partitions: try again later.
    """
    removed: dict[str, int] = {}
    held: list[OperationalError] = []
    for tier, length in ((SEALED, keep.samples), (HOURLY, keep.hourly), (DAILY, keep.daily)):
        with _told_later(held):
            removed[tier.name] = _retain_tier(store, tier, now - length, go_on) if length else 0
    if keep.fleet_minutes:
        # Whole hours: of one that is cut nobody could tell that it is.
        hour = (now - keep.fleet_minutes) // HOUR * HOUR
        for table in (fleet_minutes, fleet_ten_minutes):
            removed[table.name] = _remove_rows(store, table, hour + 1, go_on)
    if keep.fleet_hours:
        for table in (fleet_hours, fleet_six_hours):
            removed[table.name] = _remove_rows(store, table, now - keep.fleet_hours, go_on)
        removed[server_hours.name] = _remove_before(store, server_hours.c.at, now - keep.fleet_hours - HOUR, go_on)
    if keep.fleet_minutes:
        removed[fleet_states.name] = _thin_states(store, now - keep.fleet_minutes, go_on)
        for ts in (usage_fleet_hours.c.hour, usage_kind_hours.c.hour, usage_six_hours.c.at, server_minutes.c.at):
            removed[ts.table.name] = _remove_before(store, ts, (now - keep.fleet_minutes) // HOUR * HOUR, go_on)
    if keep.usage:
        with _told_later(held):
            removed[usage.name] = _remove_days(store, usage.c.begin, now - keep.usage, go_on)
        removed[holders.name] = _remove_before(store, holders.c.last_seen, now - keep.usage - DAY, go_on)
        removed[usage_waste_days.name] = _remove_before(store, usage_waste_days.c.at, now - keep.usage - DAY, go_on)
    if lengths := [length for length in (keep.fleet_minutes, keep.usage + DAY if keep.usage else 0) if length]:
        removed[usage_waste_hours.name] = _remove_before(store, usage_waste_hours.c.at, now - min(lengths), go_on)
    if keep.daily:
        with _told_later(held):
            removed[usage_daily.name] = _remove_days(store, usage_daily.c.day, now - keep.daily, go_on)
        for ts in (usage_fleet.c.day, usage_kind_days.c.day, usage_weeks.c.at):
            removed[ts.table.name] = _remove_before(store, ts, now - keep.daily - DAY, go_on)
    if held:
        raise held[0]
    return {name: count for name, count in removed.items() if count}


@contextlib.contextmanager
def _told_later(held: list[OperationalError]) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        held.append(error)


def drop_emptied(store: Store, now: int, sealed_until: int) -> list[str]:
    """On PostgreSQL: drop partitions of `recent` whose hours are sealed; their names.

    Two hours stay, for what is on its way. Cut off first, and what came in between put back: so nothing has to be
    searched while others wait. Where readers are in the way it is tried again another time.
    """
    if store.dialect != "postgresql":
        return []
    before = min(sealed_until, now // HOUR * HOUR - HOUR)
    with store.reading() as connection:
        there = partitions.listing(connection, recent)
    for each in there:
        if each.end is not None and each.end <= before:
            _cut_off(store, each.name)
    with store.reading() as connection:
        cut_off = _cut_off_ones(connection)
    return [name for name in cut_off if _drop_cut_off(store, name)]


# Those that were cut off and not dropped yet.
_CUT_OFF = text(
    "SELECT c.relname FROM pg_class c JOIN pg_class r ON r.oid = CAST('recent' AS regclass) "
    "AND c.relnamespace = r.relnamespace WHERE c.relname ~ '^recent_[0-9]{8}_[0-9]{2}$' "
    "AND c.relkind = 'r' AND NOT c.relispartition ORDER BY c.relname"
)


def _cut_off_ones(connection: Connection) -> list[str]:
    return list(connection.execute(_CUT_OFF).scalars())


def _cut_off(store: Store, name: str) -> None:
    try:
        with store.writing() as connection:
            alone(connection, ROLLUPS)
            connection.execute(text("SET LOCAL lock_timeout = '1s'"))
            # Another server may have done it.
            if name in {each.name for each in partitions.listing(connection, recent)}:
                connection.execute(text(f"ALTER TABLE recent DETACH PARTITION {name}"))
    except OperationalError as error:
        _LOG.info("%s is still in use: %s", name, error.orig)


def _drop_cut_off(store: Store, name: str) -> bool:
    with store.writing() as connection:
        alone(connection, ROLLUPS)
        if name not in _cut_off_ones(connection):
            return False
        # One that was cut off before an upgrade lacks the metrics that are new.
        there = {column["name"] for column in inspect(connection).get_columns(name)}
        names = ", ".join(f'"{column.name}"' for column in recent.c if column.name in there)
        connection.execute(text(f"INSERT INTO recent ({names}) SELECT {names} FROM {name}"))
        partitions.drop(connection, name)
        return True


def _retain_tier(store: Store, tier: Tier, before: int, go_on: Callable[[], bool]) -> int:
    if store.dialect == "postgresql":
        with store.writing() as connection:
            return len(partitions.drop_before(connection, tier.table, before))
    removed = 0
    while go_on():
        with store.writing() as connection:
            count = _remove_spans(connection, tier, before)
        removed += count
        if count < _ROWS:
            break
    return removed


def _remove_spans(connection: Connection, tier: Tier, before: int) -> int:
    table = tier.table
    old = select(table.c.node_id, table.c.span).where(table.c.span <= before - tier.span).limit(_ROWS)
    return connection.execute(delete(table).where(tuple_(table.c.node_id, table.c.span).in_(old))).rowcount


def _remove_days(store: Store, ts: Column[int], before: int, go_on: Callable[[], bool]) -> int:
    """Whole days (UTC) that ended by `before`: on PostgreSQL the partitions that hold nothing else."""
    if store.dialect == "postgresql":
        with store.writing() as connection:
            return len(partitions.drop_before(connection, ts.table, before))
    return _remove_before(store, ts, before // DAY * DAY, go_on)


def _remove_rows(store: Store, table: Table, before: int, go_on: Callable[[], bool]) -> int:
    return _remove_before(store, table.c.ts, before, go_on, HOUR if table is fleet_minutes else DAY)


def _remove_before(store: Store, ts: Column[int], before: int, go_on: Callable[[], bool], length: int = DAY) -> int:
    """Rows of times before `before`, as many as `length` µs hold in a transaction."""
    removed = 0
    while go_on():
        with store.writing() as connection:
            if ts.table in _PARTS:
                alone(connection, USAGE)
            oldest = connection.execute(select(func.min(ts)).where(ts < before)).scalar()
            if oldest is None:
                break
            old = ts < min(oldest + length, before)
            removed += connection.execute(delete(ts.table).where(old)).rowcount
    return removed


def _thin_states(store: Store, before: int, go_on: Callable[[], bool]) -> int:
    """Of counts that old only those at a full hour stay."""
    table, removed = fleet_states, 0
    while go_on():
        with store.writing() as connection:
            thin = (table.c.ts < before) & (table.c.ts % HOUR != 0)
            oldest = connection.execute(select(func.min(table.c.ts)).where(thin)).scalar()
            if oldest is None:
                break
            removed += connection.execute(delete(table).where(thin, table.c.ts < oldest + DAY)).rowcount
    return removed
