"""Rows of the fleet's groups over a time: hours where they are rolled up, minutes for the rest; and how many it had."""

import bisect
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Select,
    String,
    Table,
    and_,
    false,
    func,
    literal,
    or_,
    select,
    union_all,
)

from gpufleet_server.domain.state import GpuState
from gpufleet_server.queries import filters
from gpufleet_server.queries.filters import FleetFilter, one_of
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import HOUR, begin_of, due, fleet_groups, fleet_hours, fleet_minutes, fleet_states

MINUTE = 60_000_000
By = Literal["site", "model", "state"]
BYS: tuple[By, ...] = ("site", "model", "state")
_Span = tuple[int, int]
_newest_hour = select(func.max(fleet_hours.c.ts)).scalar_subquery()
_oldest_minute = select(func.min(fleet_minutes.c.ts)).scalar_subquery()


def rows(
    connection: Connection, columns: Sequence[str], wanted: FleetFilter, start: int, end: int, *, coarse: bool
) -> CompoundSelect[Any]:
    """A select of group_id, ts and these columns for what ended in (start, end].

    With `coarse` hours stand for their minutes wherever they are rolled up; else only where the minutes are gone.
    """
    hours = _hours(connection, start, end) if coarse else _gone(connection, start, end)
    edges = [start, *(edge for span in hours for edge in span), end]
    minutes = _select(fleet_minutes, columns, wanted, zip(edges[::2], edges[1::2], strict=True))
    return union_all(*([_select(fleet_hours, columns, wanted, hours)] if hours else []), minutes)


def owned(
    connection: Connection, by: By | None, wanted: FleetFilter, ends: Sequence[int]
) -> dict[str | None, list[float]]:
    """How many GPUs there were at each of the rising `ends`, by site or model (by state: of all states, as None).

    Where nobody counted at such a minute, as many as were counted last; before the first count, as many as had been
    seen for the first time and were not removed.
    """
    key = fleet_groups.c[by] if by in ("site", "model") else None
    minutes = [end // MINUTE * MINUTE for end in ends]
    # The newest count may be of the minute before; of old ones only those at full hours are left.
    tried = {near for minute in minutes for near in (minute, minute - MINUTE, minute // HOUR * HOUR)}
    known = _times_counted(connection, tried)
    before = bisect.bisect_left(minutes, known[0]) if known else len(minutes)
    nearest = [known[bisect.bisect_right(known, minute) - 1] for minute in minutes[before:]]
    counted = _counted(connection, key, wanted, set(nearest))
    seen = _seen(connection, by, wanted, minutes[:before]) if before else {}
    names = {None} if key is None else {*seen, *(name for _, name in counted)}
    nothing = [0.0] * before
    return {
        name: [*seen.get(name, nothing), *(float(counted.get((minute, name), 0)) for minute in nearest)]
        for name in names
    }


def begun(connection: Connection, start: int) -> int:
    """`start`, or where nobody counted as early, when the first GPU was seen if that was later (µs)."""
    counted = connection.execute(select(func.min(fleet_states.c.ts))).scalar_one()
    if counted is not None and counted <= start:
        return start
    first: int | None = connection.execute(select(func.min(gpus.c.first_seen))).scalar_one()
    return start if first is None else max(start, first)


def of_fleet(wanted: FleetFilter) -> list[Any]:
    """Conditions on `fleet_groups`."""
    given = ((fleet_groups.c.site, wanted.site), (fleet_groups.c.model, wanted.model))
    real = [] if wanted.simulated is None else [fleet_groups.c.simulated.is_(wanted.simulated)]
    return [*(column.in_(values) for column, values in given if values), *real]


def _select(table: Table, columns: Iterable[str], wanted: FleetFilter, spans: Iterable[_Span]) -> Select[Any]:
    within = or_(false(), *(and_(table.c.ts > start, table.c.ts <= end) for start, end in spans if start < end))
    query = select(table.c.group_id, table.c.ts, *(table.c[name] for name in columns)).where(within)
    if wanted == FleetFilter():
        return query
    return query.where(table.c.group_id.in_(select(fleet_groups.c.group_id).where(*of_fleet(wanted))))


def _hours(connection: Connection, start: int, end: int) -> list[_Span]:
    """Runs of whole hours of the range that are rolled up for good: not the newest, nor those with late samples.

    Either tier may be kept for longer: where no minutes are left there is nothing but the hours.
    """
    ts = fleet_hours.c.ts
    first, last = connection.execute(select(func.min(ts), func.max(ts)).where(ts > start, ts <= end)).one()
    if last is None:
        return []
    newest, oldest_minute = connection.execute(select(_newest_hour, _oldest_minute)).one()
    if oldest_minute is not None and oldest_minute <= newest:
        last = min(last, newest - HOUR)
    begin = max(first - HOUR, -(-start // HOUR) * HOUR)
    late = select(due.c.at).where(due.c.kind == "hour", due.c.at >= begin, due.c.at < last).order_by(due.c.at)
    spans = []
    for hour in connection.execute(late).scalars():
        spans.append((begin, hour))
        begin = hour + HOUR
    return [span for span in (*spans, (begin, last)) if span[0] < span[1]]


def _gone(connection: Connection, start: int, end: int) -> list[_Span]:
    """The part of a range of which there are no minutes any more."""
    oldest = connection.execute(select(_oldest_minute)).scalar_one()
    last = min(begin_of(oldest, HOUR), end) if oldest is not None else end
    return [(start, last)] if start < last else []


def _times_counted(connection: Connection, minutes: Collection[int]) -> list[int]:
    """At which of these minutes somebody counted, in order: who counts, counts all, so a part without any had none."""
    ts = fleet_states.c.ts
    return sorted(connection.execute(select(ts).distinct().where(one_of(connection, ts, sorted(minutes)))).scalars())


def _counted(
    connection: Connection, key: Any, wanted: FleetFilter, minutes: Collection[int]
) -> dict[tuple[int, str | None], int]:
    of = [fleet_states.c.ts] if key is None else [fleet_states.c.ts, key]
    query = (
        select(*of, func.sum(fleet_states.c.gpus))
        .join_from(fleet_states, fleet_groups, fleet_states.c.group_id == fleet_groups.c.group_id)
        .where(one_of(connection, fleet_states.c.ts, sorted(minutes)))
        .where(fleet_groups.c.state != GpuState.REMOVED.value)
        .where(*of_fleet(wanted))
        .group_by(*of)
    )
    found = connection.execute(query).all()
    return {(row[0], None if key is None else row[1] or None): int(row[-1]) for row in found}


def _seen(
    connection: Connection, by: By | None, wanted: FleetFilter, minutes: Sequence[int]
) -> dict[str | None, list[float]]:
    """How many GPUs had been seen at each of these minutes and were not removed, by the site and model of today."""
    added = _by_minute(connection, by, wanted, gpus.c.first_seen)
    removed = _by_minute(connection, by, wanted, gpus.c.removed_at)
    return {
        name: [float(_until(added[name], minute) - _until(removed.get(name, {}), minute)) for minute in minutes]
        for name in added
    }


def _by_minute(
    connection: Connection, by: By | None, wanted: FleetFilter, ts: ColumnElement[Any]
) -> dict[str | None, dict[int, int]]:
    """How many GPUs have this time in each minute (its beginning, µs)."""
    name = {"site": nodes.c.site, "model": gpus.c.model}.get(by or "", literal(None, String()))
    minute = (ts // MINUTE).label("minute")
    query = select(name.label("name"), minute, func.count().label("gpus")).where(
        ts.is_not(None), *filters.of_fleet(wanted)
    )
    query = query.select_from(gpus.join(nodes, gpus.c.node_id == nodes.c.node_id)).group_by("name", "minute")
    found: dict[str | None, dict[int, int]] = {}
    for row in connection.execute(query):
        found.setdefault(row.name, {})[row.minute * MINUTE] = row.gpus
    return found


def _until(counts: Mapping[int, int], minute: int) -> int:
    return sum(count for at, count in counts.items() if at <= minute)
