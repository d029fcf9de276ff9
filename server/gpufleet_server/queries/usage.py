"""Who used how much of the fleet: usage added up by user, job, node and the like, beside what there was."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    Integer,
    String,
    Subquery,
    case,
    cast,
    func,
    literal,
    select,
    text,
)

from gpufleet_server.domain.usage import DAY
from gpufleet_server.domain.use import Use
from gpufleet_server.queries import fleet_history, paging
from gpufleet_server.queries.filters import FleetFilter
from gpufleet_server.queries.groups import MINUTE
from gpufleet_server.queries.paging import Key, Order, Page
from gpufleet_server.queries.usage_parts import (
    DIMENSIONS,
    HELD,
    OWNED,
    SUMS,
    UsageFilter,
    fleet_tells,
    parts,
    parts_of_fleet,
)
from gpufleet_server.store.fold import folded_until
from gpufleet_server.store.schema import nodes

# Over more than this GPUs and nodes are not counted, µs.
LONGEST = 8 * DAY
# Kinds that are no workload.
NOBODY, UNKNOWN = "nobody", "unknown"
_OF_NODE = {"node": nodes.c.hostname, "node_id": nodes.c.uuid, "site": nodes.c.site}
_HOUR_S = 3600.0
# What a day of a large fleet is grouped in must not go to disk on its way.
_ROOM = text("SET LOCAL work_mem = '64MB'")


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """What belongs together: `names` are its dimensions' columns. GPU-ms; memory in bytes; `activity` 0 to 1; times µs.

    `holder`: NOBODY or UNKNOWN where it is of these, None for workloads, and where groups are of places only.
    `nobody` and `unknown` are the GPU-ms in it of these; `simulated` those of simulated GPUs. How many `gpus` and
    `nodes` it was is not counted over more than LONGEST.
    """

    names: dict[str, str | None]
    holder: str | None
    gpu_ms: int
    active: int
    held: int
    nobody: int
    unknown: int
    simulated: int
    observed: int
    memory_mean: float | None
    memory_most: int | None
    activity: float | None
    gpus: int | None
    nodes: int | None
    first: int
    last: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """All time of the GPUs there were, GPU-seconds: `owned` of which `observed` is in samples, and by use.

    Of whole minutes, in which the fleet is counted: from the beginning of the first one to that of the last.
    Of what was active or held: `attributed` to workloads, held by `nobody`, of `unknown` holders, and `untold` by
    agents that don't tell.
    """

    owned: float
    observed: float
    free: float
    active: float
    held: float
    unknown_use: float
    coverage: float | None
    attributed: float
    nobody: float
    unknown: float
    untold: float


@dataclasses.dataclass(frozen=True, slots=True)
class Range:
    """[since, until), µs. All that servers had received at `through` is in it; `until` is not after that.

    `by_day`: whole days of the fleet are enough for what is asked.
    """

    since: int
    until: int
    through: int
    by_day: bool = False


def within(
    connection: Connection,
    since: int,
    until: int,
    now: int,
    by: Sequence[str] | None = None,
    wanted: UsageFilter | None = None,
    cursor: str | None = None,
) -> Range:
    """The part of a range that can be told; one of more than LONGEST begins with a day (UTC) where days tell it.

    A cursor goes on with the range that its first page had. Problem 422 where it is bad.
    """
    through = folded_until(connection, now)
    since = max(0, since)
    until = max(since, min(until, through))
    if by is not None and cursor is not None:
        since, until = _of_first_page(by, cursor, now)
    by_day = by is not None and until - since > LONGEST and fleet_tells(columns(by), wanted or UsageFilter())
    return Range(since // DAY * DAY if by_day else since, until, through, by_day)


def columns(by: Sequence[str]) -> list[str]:
    """The columns of some dimensions, each once."""
    return list(dict.fromkeys(column for name in by for column in DIMENSIONS[name]))


def groups(
    connection: Connection,
    by: Sequence[str],
    wanted: UsageFilter,
    when: Range,
    *,
    limit: int,
    cursor: str | None = None,
) -> Page[Group]:
    """Usage by dimensions of DIMENSIONS, those with most GPU time first. Problem 422 where the cursor is bad."""
    names = columns(by)
    if when.since >= when.until:
        return Page([], None)
    if connection.dialect.name == "postgresql":
        connection.execute(_ROOM)
    make = _grouped_by_day if when.by_day else _grouped
    found = make(connection, names, wanted, when, split=any(name in OWNED or name in HELD for name in by))
    ordered = _order(by, when.since, when.until, {name: found.c[name] for name in ("gpu_ms", "holder", *names)})
    query = paging.page(select(*found.c), ordered, limit, cursor)
    rows, following = paging.cut(connection.execute(query).all(), ordered, limit)
    return Page([_group(row._asdict(), names) for row in rows], following)


def _order(by: Sequence[str], since: int, until: int, of: Mapping[str, ColumnElement[Any]]) -> Order:
    """Most GPU time first. The range is a part of it: what is going on has more by the time of the next page."""
    keys = [Key(literal(each, BigInteger), int) for each in (since, until)]
    keys += [Key(of["gpu_ms"], int, descending=True), Key(of["holder"], str)]
    keys += [key for name in columns(by) for key in paging.nulls_last(of[name], str)]
    return Order(f"usage {' '.join(by)}", keys)


def _of_first_page(by: Sequence[str], cursor: str, now: int) -> tuple[int, int]:
    nothing = dict.fromkeys(("gpu_ms", "holder", *columns(by)), literal(""))
    since, until, *_ = paging.place(_order(by, 0, 0, nothing), cursor) or (0, 0)
    return max(0, int(since)), min(int(until), now)


def _grouped_by_day(
    connection: Connection, names: Sequence[str], wanted: UsageFilter, when: Range, *, split: bool
) -> Subquery:
    """A row a group, without how many GPUs and nodes it was."""
    each = _parts_of_fleet(connection, names, wanted, when).subquery("parts")
    keys, by = [each.c[name] for name in names], _holder(each, split=split)
    gpu_ms = each.c.active + each.c.held
    query = select(
        *keys,
        by.label("holder"),
        _sum(gpu_ms).label("gpu_ms"),
        *(_sum(each.c[name]).label(name) for name in SUMS),
        *_not_workloads(each),
        _sum(case((each.c.simulated, gpu_ms), else_=0)).label("simulated"),
        func.max(each.c.memory_most).label("memory_most"),
        cast(None, Integer).label("gpus"),
        cast(None, Integer).label("nodes"),
        func.min(each.c.first).label("first"),
        func.max(each.c.last).label("last"),
    )
    return query.group_by(*keys, *([by] if split else [])).subquery("of_groups")


def _parts_of_fleet(connection: Connection, names: Sequence[str], wanted: UsageFilter, when: Range) -> Any:
    to_the_end = when.by_day and when.until >= when.through
    return parts_of_fleet(connection, names, wanted, when.since, when.until, to_the_end=to_the_end)


def _holder(each: Subquery, *, split: bool) -> ColumnElement[str]:
    """NOBODY and UNKNOWN apart from all others, where groups are to be split so."""
    nothing = cast("", String)
    return case((each.c.of_kind.in_((NOBODY, UNKNOWN)), each.c.of_kind), else_=nothing) if split else nothing


def _not_workloads(each: Subquery) -> list[ColumnElement[int]]:
    gpu_ms = each.c.active + each.c.held
    return [_sum(case((each.c.of_kind == kind, gpu_ms), else_=0)).label(kind) for kind in (NOBODY, UNKNOWN)]


def _grouped(
    connection: Connection, names: Sequence[str], wanted: UsageFilter, when: Range, *, split: bool
) -> Subquery:
    """A row a group. First each GPU's rows of a group come together, so that it is counted once."""
    inner = [name for name in names if name not in _OF_NODE]
    each = parts(connection, inner, wanted, when.since, when.until).subquery("parts")
    holder = _holder(each, split=split)
    keys = [*(each.c[name] for name in inner), holder.label("holder"), each.c.at_node, each.c.bank]
    totals = [_sum(each.c[name]).label(name) for name in SUMS] + _not_workloads(each)
    rest = [
        func.bit_or(each.c.slots).label("slots"),
        func.max(each.c.memory_most).label("memory_most"),
        func.min(each.c.first).label("first"),
        func.max(each.c.last).label("last"),
    ]
    by = [*(each.c[name] for name in inner), *([holder] if split else []), each.c.at_node, each.c.bank]
    of_gpus = select(*keys, *totals, *rest).group_by(*by).subquery("of_gpus")
    return _of_groups(of_gpus, names)


def _of_groups(of_gpus: Subquery, names: Sequence[str]) -> Subquery:
    c = of_gpus.c
    keys = [(_OF_NODE[name] if name in _OF_NODE else c[name]).label(name) for name in names]
    gpu_ms = c.active + c.held
    query = select(
        *keys,
        c.holder,
        _sum(gpu_ms).label("gpu_ms"),
        *(_sum(c[name]).label(name) for name in (*SUMS, NOBODY, UNKNOWN)),
        _sum(case((nodes.c.simulated, gpu_ms), else_=0)).label("simulated"),
        func.max(c.memory_most).label("memory_most"),
        cast(func.sum(func.gpufleet_bits(c.slots)), Integer).label("gpus"),
        func.count(c.at_node.distinct()).label("nodes"),
        func.min(c.first).label("first"),
        func.max(c.last).label("last"),
    ).join_from(of_gpus, nodes, nodes.c.node_id == c.at_node)
    return query.group_by(*(key.element for key in keys), c.holder).subquery("of_groups")


def _sum(column: ColumnElement[Any]) -> ColumnElement[Any]:
    # As floats, in which sums of ms are exact: PostgreSQL's of bigint are numeric, which takes several times as long,
    # and SQLite's that outgrow 64 bits are an error.
    total = func.sum(cast(column, Float))
    return total if getattr(column, "name", None) in ("memory_sum", "activity_sum") else cast(total, BigInteger)


def _group(row: dict[str, Any], names: Sequence[str]) -> Group:
    same = ("gpu_ms", "active", "held", "nobody", "unknown", "simulated", "observed", "gpus", "nodes", "first", "last")
    return Group(
        names={name: row[name] for name in names},
        holder=row["holder"] or None,
        memory_mean=1024 * row["memory_sum"] / row["memory_ms"] if row["memory_ms"] else None,
        memory_most=row["memory_most"] if row["memory_most"] >= 0 else None,
        activity=row["activity_sum"] / row["activity_ms"] / 10_000 if row["activity_ms"] else None,
        **{name: row[name] for name in same},
    )


def totals(connection: Connection, wanted: UsageFilter, when: Range) -> Totals | None:
    """What there was of the places asked for, whoever used it; None of single nodes and GPUs, or of no whole minute."""
    if not when.by_day:
        # Of a minute that `until` cuts more is counted already than what is folded.
        when = dataclasses.replace(when, since=when.since // MINUTE * MINUTE, until=when.until // MINUTE * MINUTE)
    if wanted.node or wanted.gpu or when.since >= when.until:
        return None
    fleet = FleetFilter(site=wanted.site, model=wanted.model, simulated=wanted.simulated)
    (whole,) = fleet_history.use_hours(connection, None, fleet, when.since, when.until) or (None,)
    if whole is None:
        return None
    kinds = _by_kind(connection, wanted.of_place, when)
    hours = {use: whole.hours[use] * _HOUR_S for use in Use}
    told = sum(kinds.values())
    return Totals(
        owned=whole.owned * _HOUR_S,
        observed=sum(hours.values()),
        free=hours[Use.FREE],
        active=hours[Use.ACTIVE],
        held=hours[Use.HELD],
        unknown_use=hours[Use.UNKNOWN],
        coverage=whole.coverage,
        attributed=told - kinds.get(NOBODY, 0) - kinds.get(UNKNOWN, 0),
        nobody=kinds.get(NOBODY, 0),
        unknown=kinds.get(UNKNOWN, 0),
        untold=max(0.0, hours[Use.ACTIVE] + hours[Use.HELD] - told),
    )


def _by_kind(connection: Connection, wanted: UsageFilter, when: Range) -> dict[str, float]:
    """GPU-seconds by kind of holder."""
    each = _parts_of_fleet(connection, [], wanted, when).subquery()
    query = select(each.c.of_kind, _sum(each.c.active + each.c.held)).group_by(each.c.of_kind)
    return {kind: ms / 1000 for kind, ms in connection.execute(query)}
