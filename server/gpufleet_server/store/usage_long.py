"""Six hours and weeks of the fleet's usage: of a long range boards read a few of them, where hours and days were many.

What is there of one is all that its hours, or days, have: whoever changes one of those takes it away (`forget`), and it
is made again. Of one that is not there hours, or days, are to be read.
"""

import dataclasses
from collections.abc import Callable, Iterable
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Connection, Table, cast, delete, exists, func, literal, select

from gpufleet_server.domain.usage import DAY
from gpufleet_server.store.bulk import insert_into
from gpufleet_server.store.engine import Store
from gpufleet_server.store.leases import USAGE, alone
from gpufleet_server.store.rollups import AFTER_DAY
from gpufleet_server.store.tiers import HOUR, due
from gpufleet_server.store.usage import (
    ACTIVITY,
    FLEET_DUE,
    TIMES,
    USAGE_DUE,
    usage_fleet,
    usage_fleet_hours,
    usage_six_hours,
    usage_weeks,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Long:
    """A table of them, how long one is (µs), and what it is added up from: by the begin of its rows.

    Windows of the kinds of `due` that wait to be added up are no part yet.
    """

    table: Table
    length: int
    part: Column[Any]
    due: tuple[str, ...] = ()

    def begin(self, at: int) -> int:
        """When the one begins that a time is in. Weeks begin on Thursdays, as the first day of all time was one."""
        return at // self.length * self.length


SIX_HOURS = Long(usage_six_hours, 6 * HOUR, usage_fleet_hours.c.hour)
WEEKS = Long(usage_weeks, 7 * DAY, usage_fleet.c.day, (USAGE_DUE, FLEET_DUE))


def forget(connection: Connection, long: Long, parts: Iterable[int]) -> None:
    """Take away those that these hours, or days, are in. Others must not be at it."""
    begins = sorted({long.begin(part) for part in parts})
    connection.execute(delete(long.table).where(long.table.c.at.in_(begins)))


def make_long(store: Store, now: int, go_on: Callable[[], bool] = lambda: True) -> int:
    """Make those that are over and not there, one in a transaction while `go_on` says so; how many."""
    done = 0
    for long in (SIX_HOURS, WEEKS):
        for at in _lacking(store, long, now):
            if not go_on():
                return done
            with store.writing() as connection:
                alone(connection, USAGE)
                done += _make(connection, long, at)
    return done


def _lacking(store: Store, long: Long, now: int) -> list[int]:
    """Those that are over, of which the first part and more may be there; the newest first, as they are asked for."""
    with store.reading() as connection:
        oldest = connection.execute(select(func.min(long.part))).scalar() or 0
        there = _begins(connection, long.part, long.length)
        lacking = there - _begins(connection, long.table.c.at, long.length)
    return sorted((at for at in lacking if at >= oldest and at + long.length <= now - AFTER_DAY), reverse=True)


def _begins(connection: Connection, column: Column[Any], length: int) -> set[int]:
    """Of which there is a row: one look into the index each, however many rows there are."""
    seen = select(func.min(column).label("at")).cte("seen", recursive=True)
    after = select(func.min(column)).where(column >= _block(seen.c.at, length) + length).scalar_subquery()
    seen = seen.union_all(select(after).where(seen.c.at.is_not(None)))
    found = connection.execute(select(_block(seen.c.at, length)).where(seen.c.at.is_not(None)))
    return set(found.scalars())


def _block(at: ColumnElement[int], length: int) -> ColumnElement[int]:
    return at.op("/")(literal(length, BigInteger)) * literal(length, BigInteger)


def _make(connection: Connection, long: Long, at: int) -> bool:
    """Whether it was to be made: another server may have been faster, or a part is due again, or too old and gone."""
    within = (long.part >= at, long.part < at + long.length)
    waits = exists().where(due.c.kind.in_(long.due), due.c.at >= at, due.c.at < at + long.length)
    there = exists().where(long.table.c.at == at)
    begun = exists().where(long.part <= at)
    if connection.execute(select(waits | there | ~begun)).scalar_one():
        return False
    parts, key = long.part.table.c, ("owner_id", "place_id")
    sums = {name: cast(func.sum(parts[name]), BigInteger) for name in (*TIMES, *ACTIVITY)}
    query = select(literal(at, BigInteger), *(parts[name] for name in key), *sums.values()).where(*within)
    new = insert_into(connection, long.table)
    connection.execute(new.from_select(["at", *key, *sums], query.group_by(*(parts[name] for name in key))))
    return True
