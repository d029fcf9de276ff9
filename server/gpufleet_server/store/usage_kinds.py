"""Usage of the fleet by kind of owner: of an hour or day as much as its owners' rows have, added up of them."""

from typing import Any

from sqlalchemy import BigInteger, Column, Connection, Table, cast, delete, func, select

from gpufleet_server.store.bulk import insert_into
from gpufleet_server.store.usage import (
    TIMES,
    owners,
    usage_fleet,
    usage_fleet_hours,
    usage_kind_days,
    usage_kind_hours,
)

# Of an owner that nobody knows any more.
NO_KIND = "unknown"


def add_up_kinds_of_hour(connection: Connection, hour: int) -> None:
    """Make an hour's rows anew. Others must not be at it."""
    _add_up(connection, usage_kind_hours, usage_fleet_hours.c.hour, hour)


def add_up_kinds_of_day(connection: Connection, day: int) -> None:
    """Make a day's rows anew. Others must not be at it."""
    _add_up(connection, usage_kind_days, usage_fleet.c.day, day)


def _add_up(connection: Connection, table: Table, begin: Column[Any], at: int) -> None:
    connection.execute(delete(table).where(table.c[begin.name] == at))
    source = begin.table
    group = (begin, func.coalesce(owners.c.kind, NO_KIND), source.c.place_id)
    sums = [cast(func.sum(source.c[name]), BigInteger) for name in TIMES]
    query = select(*group, *sums).select_from(source.outerjoin(owners, owners.c.owner_id == source.c.owner_id))
    query = query.where(begin == at).group_by(*group)
    connection.execute(insert_into(connection, table).from_select([begin.name, "kind", "place_id", *TIMES], query))
