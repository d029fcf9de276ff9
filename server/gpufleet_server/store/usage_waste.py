"""Which workloads held most GPU time without running anything: the worst of each hour and day, for boards.

They are found among intervals, of which there are too many to look through whenever someone asks. An interval that an
hour cuts counts in proportion. The present hour and day are made again and again, and a day's hours once more when all
its intervals are known: so what stays depends on these alone, not on what came when.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    Connection,
    Select,
    Table,
    and_,
    cast,
    delete,
    func,
    literal,
    or_,
    select,
    text,
)

from gpufleet_server.domain.usage import DAY
from gpufleet_server.store.bulk import insert_into, insert_new
from gpufleet_server.store.engine import Store
from gpufleet_server.store.holder_names import holder_name
from gpufleet_server.store.interval_shares import overlapping, share
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import HOUR, due
from gpufleet_server.store.usage import SLOTS, holders, owners, usage, usage_waste_days, usage_waste_hours
from gpufleet_server.store.usage_places import PLACED

# How many of the fleet there are, of real and of simulated GPUs, and of each site at the least.
OF_FLEET, OF_SITE = 1000, 100
_SUMS = ("observed", "active", "held")
# Hundreds of thousands of intervals must not go to disk on their way.
_ROOM = text("SET LOCAL work_mem = '64MB'")


@dataclasses.dataclass(frozen=True, slots=True)
class _Span:
    """An hour or a day whose worst are kept; `kind` is what it is called where it is due."""

    kind: str
    table: Table
    length: int


_HOURS = _Span("waste_hour", usage_waste_hours, HOUR)
_DAYS = _Span("waste_day", usage_waste_days, DAY)


def owe_worst(connection: Connection, day: int) -> None:
    """Have the worst of a day and of its hours found anew."""
    hours = [{"kind": _HOURS.kind, "node_id": 0, "at": hour} for hour in range(day, day + DAY, HOUR)]
    insert_new(connection, due, [{"kind": _DAYS.kind, "node_id": 0, "at": day}, *hours])


def find_worst(store: Store, now: int, go_on: Callable[[], bool] = lambda: True, *, since: int = 0) -> int:
    """Find those of this hour and day, of the hour before, and of all that is due; how many hours and days.

    Of days before `since` (µs) intervals are gone: what was found of them stays.
    """
    this = now // HOUR * HOUR
    wanted = {(_HOURS, this): None, (_HOURS, this - HOUR): None}
    wanted |= {(_DAYS, hour // DAY * DAY): None for hour in (this, this - HOUR)}
    with store.reading() as connection:
        late = select(due.c.kind, due.c.at).where(due.c.kind.in_((_HOURS.kind, _DAYS.kind))).order_by(due.c.at.desc())
        listed = connection.execute(late).all()
    wanted |= {(_HOURS if row.kind == _HOURS.kind else _DAYS, row.at): None for row in listed}
    done = 0
    for span, at in wanted:
        if not go_on():
            break
        with store.writing() as connection:
            connection.execute(delete(due).where(due.c.kind == span.kind, due.c.at == at))
            if at >= since:
                _find(connection, span, at)
                done += 1
    return done


def _find(connection: Connection, span: _Span, at: int) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(_ROOM)
        # Two servers would insert the same rows; who reads is not kept waiting.
        connection.execute(text(f"LOCK TABLE {span.table.name} IN SHARE ROW EXCLUSIVE MODE"))
    connection.execute(delete(span.table).where(span.table.c.at == at))
    query = _worst(at, at + span.length)
    connection.execute(insert_into(connection, span.table).from_select(list(query.selected_columns.keys()), query))


def _worst(begin: int, end: int) -> Select[Any]:
    """Rows of one hour or day."""
    chosen = _chosen(begin, end)
    counted = _counted(chosen, begin, end)
    of_holder = and_(*(chosen.c[name] == counted.c[name] for name in ("holder_id", "site", "model", "simulated")))
    joined = chosen.join(counted, of_holder).join(holders, holders.c.holder_id == chosen.c.holder_id)
    joined = joined.join(owners, owners.c.owner_id == holders.c.owner_id)
    return select(
        literal(begin, BigInteger).label("at"),
        *(chosen.c[name] for name in ("holder_id", "site", "model", "simulated")),
        holders.c.owner_id,
        holder_name().label("name"),
        counted.c.gpus,
        counted.c.nodes,
        *(chosen.c[name] for name in _SUMS),
    ).select_from(joined)


def _chosen(begin: int, end: int) -> CTE:
    """Workloads by site and model: those that held most."""
    sums = {name: cast(func.sum(share(name, begin, end)), BigInteger).label(name) for name in _SUMS}
    place = _place()
    query = (
        select(usage.c.holder_id, *place.values(), *sums.values()).select_from(PLACED).where(*overlapping(begin, end))
    )
    each = query.group_by(usage.c.holder_id, *(column.element for column in place.values())).subquery("of_holders")
    order = (each.c.held.desc(), each.c.holder_id, each.c.site, each.c.model)
    ranks = (
        func.row_number().over(partition_by=each.c.simulated, order_by=order).label("in_fleet"),
        func.row_number().over(partition_by=(each.c.simulated, each.c.site), order_by=order).label("in_site"),
    )
    ranked = select(*each.c, *ranks).where(each.c.held > 0).subquery("ranked")
    return select(ranked).where(or_(ranked.c.in_fleet <= OF_FLEET, ranked.c.in_site <= OF_SITE)).cte("chosen")


def _counted(chosen: CTE, begin: int, end: int) -> CTE:
    """On how many GPUs and nodes of a site and model each of them was."""
    place, gpu = _place(), usage.c.node_id * SLOTS + usage.c.slot
    query = select(
        usage.c.holder_id,
        *place.values(),
        func.count(gpu.distinct()).label("gpus"),
        func.count(usage.c.node_id.distinct()).label("nodes"),
    ).select_from(PLACED)
    query = query.where(*overlapping(begin, end), usage.c.holder_id.in_(select(chosen.c.holder_id)))
    return query.group_by(usage.c.holder_id, *(column.element for column in place.values())).cte("counted")


def _place() -> dict[str, Any]:
    return {
        "site": func.coalesce(nodes.c.site, "").label("site"),
        "model": func.coalesce(gpus.c.model, "").label("model"),
        "simulated": nodes.c.simulated.label("simulated"),
    }
