"""What usage is added up from: days of the fleet or of nodes that are over, and intervals for all else."""

import dataclasses
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    Float,
    FromClause,
    Select,
    Table,
    and_,
    case,
    cast,
    func,
    literal,
    or_,
    select,
    tuple_,
    union_all,
)

from gpufleet_server.domain.usage import DAY
from gpufleet_server.queries.filters import Conditions, named
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import due
from gpufleet_server.store.usage import (
    FLEET_DUE,
    SUMMED,
    USAGE_DUE,
    holders,
    owners,
    usage,
    usage_daily,
    usage_fleet,
    usage_places,
)
from gpufleet_server.store.usage_days import bank, bit

# What each dimension is told by. Days know of owners, models and nodes; all else only intervals know.
OWNED = {name: (name,) for name in ("user", "account", "slurm_partition", "namespace", "kind")}
HELD = {
    "job": ("job", "cluster"),
    "pod": ("pod", "namespace", "pod_uid"),
    "container": ("container", "container_name"),
    "unit": ("unit",),
    "command": ("command",),
}
PLACED = {"node": ("node", "node_id"), "site": ("site",), "model": ("model",), "gpu": ("gpu",)}
DIMENSIONS: dict[str, tuple[str, ...]] = OWNED | HELD | PLACED
SUMS = SUMMED


@dataclasses.dataclass(frozen=True, kw_only=True)
class UsageFilter:
    """Whose usage, and of what. `node` is an id or a hostname, `gpu` a UUID or serial; several values mean any."""

    site: Sequence[str] = ()
    node: Sequence[str] = ()
    model: Sequence[str] = ()
    gpu: Sequence[str] = ()
    simulated: bool | None = None
    user: Sequence[str] = ()
    account: Sequence[str] = ()
    slurm_partition: Sequence[str] = ()
    namespace: Sequence[str] = ()
    kind: Sequence[str] = ()
    job: Sequence[str] = ()
    pod: Sequence[str] = ()
    container: Sequence[str] = ()
    unit: Sequence[str] = ()
    command: Sequence[str] = ()

    @property
    def of_place(self) -> "UsageFilter":
        """The same, whoever it was."""
        return UsageFilter(**{name: getattr(self, name) for name in ("site", "node", "model", "gpu", "simulated")})

    @property
    def of_days(self) -> bool:
        """Whether days tell."""
        return not (self.gpu or any(getattr(self, name) for name in HELD))


def days_tell(names: Sequence[str], wanted: UsageFilter) -> bool:
    """Whether the days of nodes tell all that is asked for."""
    return wanted.of_days and not {"gpu", *sum(HELD.values(), ())} & ({*names} - {"namespace"})


def fleet_tells(names: Sequence[str], wanted: UsageFilter) -> bool:
    """Whether the days of the fleet tell it, but for how many GPUs and nodes it was."""
    return days_tell(names, wanted) and not wanted.node and not {"node", "node_id"} & {*names}


def parts(
    connection: Connection, names: Sequence[str], wanted: UsageFilter, since: int, until: int
) -> CompoundSelect[Any] | Select[Any]:
    """A select of the columns `names` of dimensions, `of_kind`, at_node, bank, slots and all that is summed up.

    Of [since, until) (µs): an interval that the range cuts counts in proportion. Several rows may be of one group.
    """
    head = [usage.c.node_id.label("at_node"), bank().label("bank"), bit().label("slots")]
    first, last = -(-since // DAY) * DAY, until // DAY * DAY
    days = _added_up(connection, first, last, (USAGE_DUE,)) if days_tell(names, wanted) else []
    selects = [_of_days(names, wanted, days)] if days else []
    selects += _of_rest(names, wanted, head, set(days), first, last)
    edges = [(since, min(first, until)), (max(last, since), until)] if first <= last else [(since, until)]
    selects += [_of_edge(names, wanted, head, edge) for edge in edges if edge[0] < edge[1]]
    return union_all(*selects) if len(selects) > 1 else selects[0]


def parts_of_fleet(
    connection: Connection, names: Sequence[str], wanted: UsageFilter, since: int, until: int, *, to_the_end: bool
) -> CompoundSelect[Any] | Select[Any]:
    """The same without at_node, bank and slots, but `simulated`; quick however many nodes there are.

    `to_the_end`: nothing that there is ends after `until`, or not so much that it would matter.
    """
    head = [nodes.c.simulated]
    first, last = -(-since // DAY) * DAY, until // DAY * DAY
    days = _added_up(connection, first, last, (USAGE_DUE, FLEET_DUE))
    selects = [_of_fleet_days(names, wanted, days)] if days else []
    whole = last + DAY if to_the_end and last < until and first <= last else last
    selects += _of_rest(names, wanted, head, set(days), first, whole)
    edges = [(since, min(first, until)), (max(whole, since), until)] if first <= last else [(since, until)]
    selects += [_of_edge(names, wanted, head, edge) for edge in edges if edge[0] < edge[1]]
    return union_all(*selects) if len(selects) > 1 else selects[0]


def held_by(wanted: UsageFilter) -> Conditions:
    """Conditions on `holders` and `owners`."""
    conditions = [_any_of(_owned(name), getattr(wanted, name)) for name in OWNED]
    conditions += [_any_of(holders.c[name], getattr(wanted, name)) for name in HELD]
    return [each for each in conditions if each is not None]


def placed(wanted: UsageFilter) -> Conditions:
    """Conditions on `nodes`."""
    conditions = [_any_of(nodes.c.site, wanted.site), *named(wanted.node)]
    if wanted.simulated is not None:
        conditions.append(nodes.c.simulated.is_(wanted.simulated))
    return [each for each in conditions if each is not None]


def of_gpus(wanted: UsageFilter) -> Conditions:
    """Conditions on `usage`: the GPUs asked for by name."""
    if not wanted.gpu:
        return []
    by_name = or_(gpus.c.uuid.in_(wanted.gpu), gpus.c.serial.in_(wanted.gpu))
    return [tuple_(usage.c.node_id, usage.c.slot).in_(select(gpus.c.node_id, gpus.c.slot).where(by_name))]


def _any_of(column: ColumnElement[Any], wanted: Sequence[str]) -> ColumnElement[bool] | None:
    return column.in_(wanted) if wanted else None


def _owned(name: str) -> ColumnElement[Any]:
    return owners.c[name] if name == "kind" else func.nullif(owners.c[name], "")


def _added_up(connection: Connection, first: int, last: int, kinds: Sequence[str]) -> list[int]:
    """The whole days of which nothing waits to be added up."""
    if first >= last:
        return []
    query = select(due.c.at).distinct().where(due.c.kind.in_(kinds), due.c.at >= first, due.c.at < last)
    waiting = set(connection.execute(query).scalars())
    return [day for day in range(first, last, DAY) if day not in waiting]


def _spans(days: Sequence[int]) -> list[tuple[int, int]]:
    spans: list[tuple[int, int]] = []
    for day in days:
        if spans and spans[-1][1] == day:
            spans[-1] = (spans[-1][0], day + DAY)
        else:
            spans.append((day, day + DAY))
    return spans


def _of_days(names: Sequence[str], wanted: UsageFilter, days: Sequence[int]) -> Select[Any]:
    head = [usage_daily.c.node_id.label("at_node"), usage_daily.c.bank, usage_daily.c.slots]
    within = _in_nodes(usage_daily.c.node_id, wanted)
    return _of_table(usage_daily, names, wanted, days, head).where(*within)


def _of_fleet_days(names: Sequence[str], wanted: UsageFilter, days: Sequence[int]) -> Select[Any]:
    query = _of_table(usage_fleet, names, wanted, days, [usage_places.c.simulated])
    query = query.join(usage_places, usage_places.c.place_id == usage_fleet.c.place_id)
    if wanted.site:
        query = query.where(usage_places.c.site.in_(wanted.site))
    if wanted.simulated is not None:
        query = query.where(usage_places.c.simulated.is_(wanted.simulated))
    return query


def _of_table(
    table: Table, names: Sequence[str], wanted: UsageFilter, days: Sequence[int], head: Sequence[ColumnElement[Any]]
) -> Select[Any]:
    """Rows of days; of the fleet's the place is to be joined."""
    placed = usage_places if table is usage_fleet else table
    spans = or_(*(and_(table.c.day >= begin, table.c.day < end) for begin, end in _spans(days)))
    conditions = [spans, *held_by(wanted)]
    if wanted.model:
        conditions.append(placed.c.model.in_(wanted.model))
    keys = (func.nullif(placed.c[name], "") if name in ("model", "site") else _owned(name) for name in names)
    labelled = (key.label(name) for key, name in zip(keys, names, strict=True))
    same = (table.c[name] for name in (*SUMS, "memory_most", "first", "last"))
    query = select(*labelled, owners.c.kind.label("of_kind"), *head, *same)
    return query.join_from(table, owners, owners.c.owner_id == table.c.owner_id).where(*conditions)


_Head = Sequence[ColumnElement[Any]]


def _of_rest(
    names: Sequence[str], wanted: UsageFilter, head: _Head, days: Collection[int], first: int, last: int
) -> list[Select[Any]]:
    """Of whole days, those that were not added up: intervals, all of each."""
    rest = _spans([day for day in range(first, last, DAY) if day not in days])
    if not rest:
        return []
    whole = or_(*(and_(usage.c.begin >= begin, usage.c.begin < end) for begin, end in rest))
    return [_of_intervals(names, wanted, head, [usage.c[name] for name in SUMS], (usage.c.begin, usage.c.end), whole)]


def _of_edge(names: Sequence[str], wanted: UsageFilter, head: _Head, edge: tuple[int, int]) -> Select[Any]:
    """Of a part of a day: intervals, in proportion where it cuts them."""
    begin, end = usage.c.begin, usage.c.end
    since, until = (literal(each, BigInteger) for each in edge)
    when = and_(begin >= edge[0] // DAY * DAY, begin < until, or_(end > since, begin >= since))
    first, last = _greater(begin, since), _less(end, until)
    inside = cast(last - first, Float) / cast(end - begin, Float)
    uncut = and_(begin >= since, end <= until)
    sums = [case((uncut, usage.c[name]), else_=cast(func.round(usage.c[name] * inside), BigInteger)) for name in SUMS]
    return _of_intervals(names, wanted, head, sums, (first, last), when)


def _of_intervals(
    names: Sequence[str],
    wanted: UsageFilter,
    head: _Head,
    sums: Sequence[ColumnElement[int]],
    ends: tuple[ColumnElement[int], ColumnElement[int]],
    when: ColumnElement[bool],
) -> Select[Any]:
    conditions = [when, *held_by(wanted), *of_gpus(wanted)]
    tables: FromClause = usage.join(owners, owners.c.owner_id == usage.c.owner_id)
    if not days_tell([name for name in names if name != "gpu"], dataclasses.replace(wanted, gpu=())):
        # Only where need be: there are as many as there were jobs in all the time.
        tables = tables.join(holders, holders.c.holder_id == usage.c.holder_id)
    if any(column is nodes.c.simulated for column in head):
        tables = tables.join(nodes, nodes.c.node_id == usage.c.node_id)
        conditions += placed(wanted)
    else:
        conditions += _in_nodes(usage.c.node_id, wanted)
    if wanted.model or {"model", "gpu"} & {*names}:
        tables = tables.join(gpus, and_(gpus.c.node_id == usage.c.node_id, gpus.c.slot == usage.c.slot))
    if wanted.model:
        conditions.append(gpus.c.model.in_(wanted.model))
    keys = (_of_interval(name).label(name) for name in names)
    totals = (each.label(name) for name, each in zip(SUMS, sums, strict=True))
    rest = (usage.c.memory_most, ends[0].label("first"), ends[1].label("last"))
    query = select(*keys, owners.c.kind.label("of_kind"), *head, *totals, *rest)
    return query.select_from(tables).where(*conditions)


def _of_interval(name: str) -> ColumnElement[Any]:
    if name in OWNED:
        return _owned(name)
    if name in ("gpu", "model"):
        return gpus.c["uuid" if name == "gpu" else "model"]
    if name == "site":
        return nodes.c.site
    return holders.c[name]


def _in_nodes(node_id: ColumnElement[int], wanted: UsageFilter) -> Conditions:
    conditions = placed(wanted)
    return [node_id.in_(select(nodes.c.node_id).where(*conditions))] if conditions else []


def _greater(one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    return case((one > other, one), else_=other)


def _less(one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    return case((one < other, one), else_=other)
