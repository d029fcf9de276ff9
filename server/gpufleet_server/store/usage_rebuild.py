"""Makes usage of days and hours anew from the intervals that are kept: for what was there before an upgrade."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    Select,
    String,
    cast,
    delete,
    func,
    literal,
    select,
)

from gpufleet_server.domain.usage import DAY
from gpufleet_server.store.bulk import insert_into
from gpufleet_server.store.engine import Store
from gpufleet_server.store.interval_shares import overlapping, share
from gpufleet_server.store.leases import USAGE, alone
from gpufleet_server.store.schema import gpus
from gpufleet_server.store.tiers import HOUR, due
from gpufleet_server.store.usage import SUMMED, USAGE_DUE, usage, usage_fleet_hours, usage_places
from gpufleet_server.store.usage_days import add_up_days
from gpufleet_server.store.usage_hours import MEMORY_STEP
from gpufleet_server.store.usage_kinds import add_up_kinds_of_hour
from gpufleet_server.store.usage_long import SIX_HOURS, forget
from gpufleet_server.store.usage_places import PLACED, add_places, at_place

# What is cut in proportion is a little more or less than what it truly was: that much of an hour that is known exactly.
_NEARLY = 0.99


def rebuild_usage(store: Store, since: int, until: int, go_on: Callable[[], bool] = lambda: True) -> int:
    """Make days and hours that overlap [since, until) (µs) anew; how many hours there were more of than was known.

    An hour of which as much was added up from reports stays: it is exact, while intervals only tell how much of all
    their time was active or held. What is added up of hours is made anew of each. It may be ended and run again at any
    time.
    """
    done = 0
    with store.writing() as connection:
        alone(connection, USAGE)
        add_places(connection)
    for hour in range(since // HOUR * HOUR, until, HOUR):
        if not go_on():
            return done
        with store.writing() as connection:
            alone(connection, USAGE)
            done += _rebuild_hour(connection, hour)
    for day in range(since // DAY * DAY, until, DAY):
        with store.writing() as connection:
            _owe(connection, day)
    add_up_days(store, until, go_on)
    return done


def _owe(connection: Connection, day: int) -> None:
    kind = cast(literal(USAGE_DUE), String)
    of_day = (usage.c.begin >= day, usage.c.begin < day + DAY)
    query = select(kind, usage.c.node_id, literal(day, BigInteger)).where(*of_day).distinct()
    new = insert_into(connection, due).from_select(["kind", "node_id", "at"], query)
    connection.execute(new.on_conflict_do_nothing())


def _rebuild_hour(connection: Connection, hour: int) -> bool:
    known = select(func.sum(usage_fleet_hours.c.observed)).where(usage_fleet_hours.c.hour == hour)
    there = select(func.sum(share("observed", hour, hour + HOUR))).where(*overlapping(hour, hour + HOUR))
    before, now = (float(connection.execute(query).scalar() or 0) for query in (known, there))
    lacked = before < now * _NEARLY
    if lacked:
        connection.execute(delete(usage_fleet_hours).where(usage_fleet_hours.c.hour == hour))
        query = _hour(hour)
        connection.execute(
            insert_into(connection, usage_fleet_hours).from_select(list(query.selected_columns.keys()), query)
        )
    # In any case: a server of before this version, beside one of it, knew nothing of these.
    add_up_kinds_of_hour(connection, hour)
    forget(connection, SIX_HOURS, [hour])
    return lacked


def _hour(hour: int) -> Select[Any]:
    """Rows of `usage_fleet_hours`."""
    query = select(
        literal(hour, BigInteger).label("hour"),
        usage.c.owner_id,
        usage_places.c.place_id,
        *(cast(_sum(name, hour), BigInteger).label(name) for name in SUMMED),
        func.max(usage.c.memory_most).label("memory_most"),
    )
    query = query.select_from(PLACED.join(usage_places, at_place(func.coalesce(gpus.c.model, ""))))
    return query.where(*overlapping(hour, hour + HOUR)).group_by(usage.c.owner_id, usage_places.c.place_id)


def _sum(name: str, hour: int) -> ColumnElement[float]:
    total: ColumnElement[float] = func.sum(share(name, hour, hour + HOUR))
    return func.round(cast(total, Float) / float(MEMORY_STEP)) if name == "memory_sum" else total
