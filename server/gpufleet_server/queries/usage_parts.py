"""What usage is added up from: days that are over and were added up, and intervals for all else."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    CompoundSelect,
    Connection,
    Float,
    FromClause,
    Select,
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
from gpufleet_server.store.fold import USAGE_DUE
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import due
from gpufleet_server.store.usage import SUMMED, holders, owners, usage, usage_daily
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
    def needs_intervals(self) -> bool:
        """Whether days don't tell."""
        return bool(self.gpu or any(getattr(self, name) for name in HELD))


def parts(
    connection: Connection, names: Sequence[str], wanted: UsageFilter, since: int, until: int
) -> CompoundSelect[Any] | Select[Any]:
    """A select of the columns `names` of dimensions, `kind`, node_id, bank, slots and all that is summed up.

    Of [since, until) (µs): an interval that the range cuts counts in proportion. Several rows may be of one group.
    """
    first, last = -(-since // DAY) * DAY, until // DAY * DAY
    coarse = not wanted.needs_intervals and not {"gpu", *sum(HELD.values(), ())} & ({*names} - {"namespace"})
    days = _added_up(connection, first, last) if coarse and first < last else []
    selects: list[Select[Any]] = []
    if days:
        selects.append(_of_days(names, wanted, days))
    rest = _spans([day for day in range(first, last, DAY) if day not in set(days)])
    if rest:
        whole = or_(*(and_(usage.c.begin >= begin, usage.c.begin < end) for begin, end in rest))
        selects.append(_of_intervals(names, wanted, whole, None))
    edges = [(since, min(first, until)), (max(last, since), until)] if first <= last else [(since, until)]
    for begin, end in edges:
        if begin < end:
            day = usage.c.begin >= begin // DAY * DAY
            cut = and_(day, usage.c.begin < end, or_(usage.c.end > begin, usage.c.begin >= begin))
            selects.append(_of_intervals(names, wanted, cut, (begin, end)))
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


def _added_up(connection: Connection, first: int, last: int) -> list[int]:
    """The days that were added up for good: nothing of them waits."""
    query = select(due.c.at).distinct().where(due.c.kind == USAGE_DUE, due.c.at >= first, due.c.at < last)
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
    spans = or_(*(and_(usage_daily.c.day >= begin, usage_daily.c.day < end) for begin, end in _spans(days)))
    conditions = [spans, *held_by(wanted), *_in_nodes(usage_daily.c.node_id, wanted)]
    if wanted.model:
        conditions.append(usage_daily.c.model.in_(wanted.model))
    model = func.nullif(usage_daily.c.model, "")
    keys = [(model if name == "model" else _owned(name)).label(name) for name in names]
    same = ("bank", "slots", *SUMS, "memory_most", "first", "last")
    head = [*keys, owners.c.kind.label("of_kind"), usage_daily.c.node_id.label("at_node")]
    query = select(*head, *(usage_daily.c[name] for name in same))
    return query.join_from(usage_daily, owners, owners.c.owner_id == usage_daily.c.owner_id).where(*conditions)


def _of_intervals(
    names: Sequence[str], wanted: UsageFilter, when: ColumnElement[bool], cut: tuple[int, int] | None
) -> Select[Any]:
    conditions = [when, *held_by(wanted), *_in_nodes(usage.c.node_id, wanted), *of_gpus(wanted)]
    tables: FromClause = usage.join(holders, holders.c.holder_id == usage.c.holder_id)
    tables = tables.join(owners, owners.c.owner_id == holders.c.owner_id)
    if wanted.model or {"model", "gpu"} & {*names}:
        tables = tables.join(gpus, and_(gpus.c.node_id == usage.c.node_id, gpus.c.slot == usage.c.slot))
    if wanted.model:
        conditions.append(gpus.c.model.in_(wanted.model))
    begin: ColumnElement[int] = usage.c.begin
    end: ColumnElement[int] = usage.c.end
    sums: list[ColumnElement[Any]] = [usage.c[name] for name in SUMS]
    if cut is not None:
        since, until = (literal(edge, BigInteger) for edge in cut)
        first, last = _greater(begin, since), _less(end, until)
        inside = cast(last - first, Float) / cast(end - begin, Float)
        share = case((and_(begin >= since, end <= until), literal(1.0, Float)), else_=inside)
        sums = [cast(func.round(each * share), BigInteger) for each in sums]
        begin, end = first, last
    head = [*(_of_interval(name).label(name) for name in names), owners.c.kind.label("of_kind")]
    head += [usage.c.node_id.label("at_node"), bank().label("bank"), bit().label("slots")]
    totals = (each.label(name) for name, each in zip(SUMS, sums, strict=True))
    rest = (usage.c.memory_most, begin.label("first"), end.label("last"))
    return select(*head, *totals, *rest).select_from(tables).where(*conditions)


def _of_interval(name: str) -> ColumnElement[Any]:
    if name in OWNED:
        return _owned(name)
    if name in ("gpu", "model"):
        return gpus.c["uuid" if name == "gpu" else "model"]
    return holders.c[name]


def _in_nodes(node_id: ColumnElement[int], wanted: UsageFilter) -> Conditions:
    conditions = placed(wanted)
    return [node_id.in_(select(nodes.c.node_id).where(*conditions))] if conditions else []


def _greater(one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    return case((one > other, one), else_=other)


def _less(one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    return case((one < other, one), else_=other)
