"""What is known of the whole fleet: its minutes by ten, by the hour and by six hours, and GPUs by their state."""

import functools
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from gpufleet_agent.catalogue import EVERY_SAMPLE, Metric, Rollup
from sqlalchemy import ColumnElement, Connection, Table, delete, func, literal_column, select

from gpufleet_server.domain.state import GpuState
from gpufleet_server.store.bulk import insert_into, insert_new
from gpufleet_server.store.condition import gpu_state
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import (
    HOUR,
    MINUTE,
    SIX_HOURS,
    TEN_MINUTES,
    begin_of,
    due,
    fleet_groups,
    fleet_hours,
    fleet_minutes,
    fleet_six_hours,
    fleet_states,
    fleet_ten_minutes,
    group_columns,
)

_HOUR_DUE = due.c.kind == "hour"
# site, model, simulated, state
Group = tuple[str, str, bool, str]


def roll_hours(store: Store, now: int, go_on: Callable[[], bool] = lambda: True) -> int:
    """Make the rows of `fleet_hours` of this hour, the one before, and those that late samples changed; how many."""
    this = begin_of(now, HOUR)
    _owe_missed(store, this - HOUR)
    with store.reading() as connection:
        late = set(connection.execute(select(due.c.at).where(_HOUR_DUE)).scalars())
    hours = sorted({*late, this - HOUR, this}, reverse=True)
    done = 0
    for hour in hours:
        if not go_on():
            break
        with store.writing() as connection:
            # Deleted first: this waits for whoever has added to the hour's minutes and not committed yet, and
            # whoever does so after this waits for the end, and makes it due again.
            connection.execute(delete(due).where(_HOUR_DUE, due.c.at == hour))
            roll_hour(connection, hour)
        done += 1
    return done


def _owe_missed(store: Store, until: int) -> None:
    """Make hours due that ended by `until` (µs) and were not over when last a rollup was made: nobody was at it."""
    ts = fleet_minutes.c.ts
    with store.reading() as connection:
        last = connection.execute(select(func.max(fleet_hours.c.ts))).scalar()
        if last is None or last > until:
            return
        minutes = connection.execute(select(ts).distinct().where(ts > last - HOUR, ts <= until)).scalars()
        missed = sorted({begin_of(minute, HOUR) for minute in minutes})
    if missed:
        with store.writing() as connection:
            insert_new(connection, due, [{"kind": "hour", "node_id": 0, "at": hour} for hour in missed])


def roll_hour(connection: Connection, begin: int) -> None:
    """Make the rows of one hour, and of its six ten minutes, from its minutes; of its six hours from their hours.

    One that covers more stays: minutes may be gone.
    """
    for table, length in ((fleet_ten_minutes, TEN_MINUTES), (fleet_hours, HOUR)):
        _roll(connection, fleet_minutes, table, length, begin, begin + HOUR)
    six = begin // SIX_HOURS * SIX_HOURS
    _roll(connection, fleet_hours, fleet_six_hours, SIX_HOURS, six, six + SIX_HOURS)


def _roll(connection: Connection, source: Table, table: Table, length: int, begin: int, end: int) -> None:
    ts, group = source.c.ts, source.c.group_id
    # Written out: PostgreSQL does not see that two parameters, here and in GROUP BY, are the same.
    last: ColumnElement[int] = literal_column(f"((ts - 1) / {length} + 1) * {length}")
    parts = {name: total for metric in EVERY_SAMPLE for name, total in _totals(source, connection.dialect.name, metric)}
    parts = {"observed": func.sum(source.c.observed)} | parts
    query = select(group, last, *parts.values()).where(ts > begin, ts <= end).group_by(group, last)
    # In one order for all servers: two that wait for each other's rows would wait for ever.
    query = query.order_by(group, last)
    added = insert_into(connection, table).from_select(["group_id", "ts", *parts], query)
    connection.execute(
        added.on_conflict_do_update(
            index_elements=["group_id", "ts"],
            set_={name: added.excluded[name] for name in parts},
            where=added.excluded.observed >= table.c.observed,
        )
    )


def count_states(store: Store, now: int) -> int:
    """Count the GPUs of each site, model and state as they are at `now`, once a minute; the number of groups."""
    ts = now // MINUTE * MINUTE
    with store.reading() as connection:
        done = connection.execute(select(fleet_states.c.ts).where(fleet_states.c.ts == ts).limit(1)).scalar()
        counts = {} if done else _counted(connection, now)
    if counts:
        with store.writing() as connection:
            ids = group_ids(connection, list(counts))
            rows = [{"group_id": ids[group], "ts": ts, "gpus": number} for group, number in sorted(counts.items())]
            insert_new(connection, fleet_states, rows)
    return len(counts)


def group_ids(connection: Connection, groups: Sequence[Group]) -> dict[Group, int]:
    """The ids of these groups; those that are new are added."""
    known = _known(connection)
    lacking = [group for group in groups if group not in known]
    if lacking:
        names = ("site", "model", "simulated", "state")
        insert_new(connection, fleet_groups, [dict(zip(names, group, strict=True)) for group in sorted(lacking)])
        known = _known(connection)
    return known


def _known(connection: Connection) -> dict[Group, int]:
    c = fleet_groups.c
    query = select(c.site, c.model, c.simulated, c.state, c.group_id)
    return {(row.site, row.model, row.simulated, row.state): row.group_id for row in connection.execute(query)}


def _counted(connection: Connection, now: int) -> dict[Group, int]:
    state = gpu_state(now).label("state")
    site, model = func.coalesce(nodes.c.site, "").label("site"), func.coalesce(gpus.c.model, "").label("model")
    joined = select(site, model, nodes.c.simulated, state).join_from(gpus, nodes, gpus.c.node_id == nodes.c.node_id)
    each = joined.where(gpus.c.removed_at.is_(None)).subquery()
    group = (each.c.site, each.c.model, each.c.simulated, each.c.state)
    counts = connection.execute(select(*group, func.count()).group_by(*group))
    return {(site, model, simulated, GpuState(state).value): count for site, model, simulated, state, count in counts}


def _totals(source: Table, dialect: str, metric: Metric) -> Iterator[tuple[str, ColumnElement[Any]]]:
    """The columns of a metric in longer times, each from those of shorter ones."""
    for column in group_columns(metric):
        parts: ColumnElement[Any] = source.c[column.name]
        match metric.rollup:
            case Rollup.MEAN | Rollup.SUM:
                yield column.name, func.sum(parts)
            case Rollup.MIN:
                yield column.name, func.min(parts)
            case Rollup.MAX | Rollup.LAST:
                yield column.name, func.max(parts)
            case Rollup.ANY:
                yield column.name, func.bit_or(parts) if dialect == "postgresql" else _united(metric, parts)


def _united(metric: Metric, parts: ColumnElement[Any]) -> ColumnElement[Any]:
    # SQLite has no aggregate for it: bit by bit.
    bits: list[ColumnElement[Any]] = [func.max(parts.bitwise_and(1 << n)) for n in range(8 * metric.width - 1)]
    return functools.reduce(operator.add, bits)
