"""How much each owner had on each day that is over: of each node from its intervals, of the fleet from its nodes."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    Integer,
    SmallInteger,
    cast,
    delete,
    exists,
    func,
    literal,
    select,
)

from gpufleet_server.domain.usage import DAY
from gpufleet_server.store import partitions
from gpufleet_server.store.bulk import insert_into, insert_new
from gpufleet_server.store.engine import Store
from gpufleet_server.store.leases import USAGE, alone
from gpufleet_server.store.rollups import AFTER_DAY
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import HOUR, due
from gpufleet_server.store.usage import (
    FLEET_DUE,
    SLOTS_A_BANK,
    SUMMED,
    USAGE_DUE,
    usage,
    usage_daily,
    usage_fleet,
    usage_fleet_hours,
    usage_places,
)
from gpufleet_server.store.usage_hours import MEMORY_STEP
from gpufleet_server.store.usage_kinds import add_up_kinds_of_day
from gpufleet_server.store.usage_long import WEEKS, forget
from gpufleet_server.store.usage_places import add_places, at_place
from gpufleet_server.store.usage_waste import owe_worst

_NODES = 400
_DUE = due.c.kind == USAGE_DUE


def bank() -> ColumnElement[int]:
    """Of an interval: which 63 slots of its node `slots` is about."""
    return cast(usage.c.slot.op("/")(SLOTS_A_BANK), SmallInteger)


def bit() -> ColumnElement[int]:
    """Of an interval: its GPU's bit in `slots`."""
    return literal(1, BigInteger).op("<<")(cast(usage.c.slot % SLOTS_A_BANK, Integer))


def add_up_days(store: Store, now: int, go_on: Callable[[], bool] = lambda: True) -> int:
    """Add up each day that is due and over, some nodes in a transaction while `go_on` says so; how many."""
    done = 0
    while go_on():
        with store.writing() as connection:
            alone(connection, USAGE)
            some, day = _some_due(connection, now)
            if not some:
                break
            partitions.make_for(connection, usage_daily, day)
            _add_up(connection, _to_be_made(connection, some, day), day)
            insert_new(connection, due, [{"kind": FLEET_DUE, "node_id": 0, "at": day}])
            owe_worst(connection, day)
            done += len(some)
    _add_up_fleet(store, go_on)
    return done


def _add_up_fleet(store: Store, go_on: Callable[[], bool]) -> None:
    """Add up the days of which all nodes are done."""
    waiting = select(due.c.at).where(_DUE)
    days = select(due.c.at).where(due.c.kind == FLEET_DUE, due.c.at.not_in(waiting)).order_by(due.c.at)
    with store.reading() as connection:
        listed = connection.execute(days).scalars().all()
    for day in listed:
        if not go_on():
            break
        with store.writing() as connection:
            alone(connection, USAGE)
            connection.execute(delete(due).where(due.c.kind == FLEET_DUE, due.c.at == day))
            _add_up_nodes(connection, day)


def _add_up_nodes(connection: Connection, day: int) -> None:
    add_places(connection)
    connection.execute(delete(usage_fleet).where(usage_fleet.c.day == day))
    key = {"owner_id": usage_daily.c.owner_id, "place_id": usage_places.c.place_id}
    totals: dict[str, Any] = {name: cast(func.sum(usage_daily.c[name]), BigInteger) for name in SUMMED}
    # Of an owner with a thousand GPUs it outgrows 64 bits.
    totals |= {"memory_sum": func.sum(cast(usage_daily.c.memory_sum, Float))}
    totals |= {"memory_most": func.max(usage_daily.c.memory_most)}
    totals |= {"first": func.min(usage_daily.c.first), "last": func.max(usage_daily.c.last)}
    query = (
        select(*key.values(), literal(day, BigInteger), *totals.values())
        .join_from(usage_daily, nodes, nodes.c.node_id == usage_daily.c.node_id)
        .join(usage_places, at_place(usage_daily.c.model))
        .where(usage_daily.c.day == day)
        .group_by(*key.values())
    )
    connection.execute(insert_into(connection, usage_fleet).from_select([*key, "day", *totals], query))
    add_up_kinds_of_day(connection, day)
    forget(connection, WEEKS, [day])


def _some_due(connection: Connection, now: int) -> tuple[Sequence[int], int]:
    """Nodes, and a day, that are no longer due after this."""
    over = _DUE & (due.c.at <= now - DAY - AFTER_DAY)
    day = connection.execute(select(func.min(due.c.at)).where(over)).scalar()
    if day is None:
        return [], 0
    of_day = _DUE & (due.c.at == day)
    some = connection.execute(select(due.c.node_id).where(of_day).order_by(due.c.node_id).limit(_NODES)).scalars().all()
    connection.execute(delete(due).where(of_day, due.c.node_id.in_(some)))
    return some, day


def _to_be_made(connection: Connection, some: Sequence[int], day: int) -> list[int]:
    """Those of which the intervals tell no less than what was added up before: they may be gone by now."""
    before = _observed(connection, usage_daily, usage_daily.c.day == day, some)
    now = _observed(connection, usage, _of(day), some)
    return [node_id for node_id in some if now.get(node_id, 0) >= before.get(node_id, 0)]


def _observed(connection: Connection, table: Any, when: ColumnElement[bool], some: Sequence[int]) -> dict[int, int]:
    query = select(table.c.node_id, func.sum(table.c.observed)).where(table.c.node_id.in_(some), when)
    return {node_id: int(observed) for node_id, observed in connection.execute(query.group_by(table.c.node_id))}


def _of(day: int) -> ColumnElement[bool]:
    return (usage.c.begin >= day) & (usage.c.begin < day + DAY)


def _add_up(connection: Connection, some: Sequence[int], day: int) -> None:
    connection.execute(delete(usage_daily).where(usage_daily.c.node_id.in_(some), usage_daily.c.day == day))
    key = {
        "node_id": usage.c.node_id,
        "owner_id": usage.c.owner_id,
        "model": func.coalesce(gpus.c.model, ""),
        "bank": bank(),
    }
    totals: dict[str, Any] = {"slots": func.bit_or(bit())}
    # On PostgreSQL a sum of bigint is numeric.
    totals |= {name: cast(func.sum(usage.c[name]), BigInteger) for name in SUMMED}
    totals |= {"memory_most": func.max(usage.c.memory_most)}
    totals |= {"first": func.min(usage.c.begin), "last": func.max(usage.c.end)}
    of_gpu = (gpus.c.node_id == usage.c.node_id) & (gpus.c.slot == usage.c.slot)
    query = (
        select(*key.values(), literal(day, BigInteger), *totals.values())
        .join_from(usage, gpus, of_gpu)
        .where(usage.c.node_id.in_(some), _of(day))
        .group_by(*key.values())
    )
    connection.execute(insert_into(connection, usage_daily).from_select([*key, "day", *totals], query))


def add_up_running_days(store: Store, now: int) -> int:
    """Have this day in `usage_fleet`, and the one before until all of that is added up there; how many of them."""
    done = 0
    for day in sorted({(now - HOUR) // DAY * DAY, now // DAY * DAY}):
        with store.writing() as connection:
            alone(connection, USAGE)
            if _is_due(connection, day):
                _add_up_hours(connection, day)
                done += 1
    return done


def _is_due(connection: Connection, day: int) -> bool:
    return bool(connection.execute(select(exists().where(due.c.kind == USAGE_DUE, due.c.at == day))).scalar_one())


def _add_up_hours(connection: Connection, day: int) -> None:
    hours = usage_fleet_hours.c
    key = {"owner_id": hours.owner_id, "place_id": hours.place_id}
    totals: dict[str, Any] = {name: cast(func.sum(hours[name]), BigInteger) for name in SUMMED}
    totals |= {"memory_sum": func.sum(cast(hours.memory_sum, Float)) * float(MEMORY_STEP)}
    totals |= {"memory_most": func.max(hours.memory_most)}
    totals |= {"first": func.min(hours.hour), "last": func.max(hours.hour) + HOUR}
    query = select(*key.values(), literal(day, BigInteger), *totals.values()).group_by(*key.values())
    connection.execute(delete(usage_fleet).where(usage_fleet.c.day == day))
    new = insert_into(connection, usage_fleet).from_select(
        [*key, "day", *totals], query.where(hours.hour >= day, hours.hour < day + DAY)
    )
    connection.execute(new)
    add_up_kinds_of_day(connection, day)
    forget(connection, WEEKS, [day])
