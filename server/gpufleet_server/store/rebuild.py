"""Makes rollups anew from what is kept: hours from sealed samples, days from hours, hours of the fleet from minutes."""

from collections.abc import Callable, Iterator

from sqlalchemy import func, select

from gpufleet_server.store.blocks import from_planes
from gpufleet_server.store.bulk import insert_new
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fleet_rollups import roll_hour
from gpufleet_server.store.leases import ROLLUPS, alone
from gpufleet_server.store.rollups import METRICS, owe_day, point, put, roll_days
from gpufleet_server.store.tiers import HOUR, HOURLY, SEALED, SIX_HOURS, begin_of, due, fleet_minutes

_NODES = 30


def rebuild(store: Store, since: int, until: int, go_on: Callable[[], bool] = lambda: True) -> int:
    """Make the rollups of what ended in (since, until] (µs) anew; the number of hours of nodes.

    It may be ended and run again at any time. A point whose samples are gone stays as it is.
    """
    done = 0
    for hour in _hours(store, since, until):
        for nodes in _nodes(store, hour):
            if not go_on():
                return done
            _rebuild_hour(store, hour, nodes)
            done += len(nodes)
    roll_days(store, until, go_on)
    for hour in _fleet_hours(store, since, until):
        if not go_on():
            return done
        with store.writing() as connection:
            roll_hour(connection, hour)
            # A server may have made another hour of the same six meanwhile: it adds them up once more.
            six = hour // SIX_HOURS * SIX_HOURS
            insert_new(connection, due, [{"kind": "hour", "node_id": 0, "at": six}])
    return done


def _rebuild_hour(store: Store, hour: int, nodes: list[int]) -> None:
    table, end = SEALED.table, hour + HOUR
    with store.writing() as connection:
        alone(connection, ROLLUPS)
        rows = connection.execute(select(table).where(table.c.node_id.in_(nodes), table.c.span == hour))
        blocks = {row.node_id: from_planes(row._asdict(), SEALED, METRICS) for row in rows}
        put(connection, HOURLY, {node_id: point(block, end) for node_id, block in blocks.items()})
        owe_day(connection, blocks, end)


def _hours(store: Store, since: int, until: int) -> Iterator[int]:
    """The beginnings of hours that hold sealed samples, found one after the other."""
    table, hour = SEALED.table, begin_of(since + 1, HOUR) - 1
    while True:
        following = select(func.min(table.c.span)).where(table.c.span > hour, table.c.span < until)
        with store.reading() as connection:
            found = connection.execute(following).scalar()
        if found is None:
            return
        yield (hour := int(found))


def _nodes(store: Store, hour: int) -> Iterator[list[int]]:
    table = SEALED.table
    with store.reading() as connection:
        query = select(table.c.node_id).where(table.c.span == hour).order_by(table.c.node_id)
        nodes = list(connection.execute(query).scalars())
    return (nodes[first : first + _NODES] for first in range(0, len(nodes), _NODES))


def _fleet_hours(store: Store, since: int, until: int) -> list[int]:
    ts = fleet_minutes.c.ts
    with store.reading() as connection:
        minutes = connection.execute(select(ts).distinct().where(ts > since, ts <= until)).scalars()
        return sorted({begin_of(minute, HOUR) for minute in minutes})
