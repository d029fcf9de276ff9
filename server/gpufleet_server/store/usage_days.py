"""How much each owner had on each day that is over, from the intervals: what months are added up from."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Integer, SmallInteger, cast, delete, func, literal, select
from sqlalchemy.dialects import postgresql, sqlite

from gpufleet_server.domain.usage import DAY
from gpufleet_server.store import partitions
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fold import USAGE_DUE, alone
from gpufleet_server.store.rollups import AFTER_DAY
from gpufleet_server.store.schema import gpus
from gpufleet_server.store.tiers import due
from gpufleet_server.store.usage import SLOTS_A_BANK, SUMMED, holders, usage, usage_daily

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
            alone(connection)
            some, day = _some_due(connection, now)
            if not some:
                break
            partitions.make_for(connection, usage_daily, day)
            _add_up(connection, _to_be_made(connection, some, day), day)
            done += len(some)
    return done


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
        "owner_id": holders.c.owner_id,
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
        .select_from(usage.join(holders, holders.c.holder_id == usage.c.holder_id).join(gpus, of_gpu))
        .where(usage.c.node_id.in_(some), _of(day))
        .group_by(*key.values())
    )
    make = sqlite.insert if connection.dialect.name == "sqlite" else postgresql.insert
    connection.execute(make(usage_daily).from_select([*key, "day", *totals], query))
