"""Which GPUs are on a page of their listing, in its order, without sorting more of the fleet than need be."""

import numpy as np
from gpufleet_agent.catalogue import EVERY_SAMPLE
from sqlalchemy import ColumnElement, Connection, FromClause, exists, func, select

from gpufleet_server.queries import condition, filters, paging
from gpufleet_server.queries.filters import Conditions, GpuFilter
from gpufleet_server.queries.frame import BY_NODE, Mask
from gpufleet_server.queries.nearby import nearby
from gpufleet_server.queries.paging import CountedPage, Key, Order, Place
from gpufleet_server.queries.present import USE, Present, present
from gpufleet_server.store.newest import newest
from gpufleet_server.store.schema import gpus, nodes

_IN_NODE = (*paging.nulls_last(gpus.c.position, int), Key(gpus.c.gpu_id, int))
# By site, hostname and index.
PLACE = (*BY_NODE, *_IN_NODE)
_COLUMNS = {
    "hostname": (nodes.c.hostname, str),
    "index": (gpus.c.position, int),
    "model": (gpus.c.model, str),
    "serial": (gpus.c.serial, str),
    "id": (gpus.c.uuid, str),
    "memory_total": (gpus.c.memory_total, int),
}
_AT = "at"
_BEYOND = (1 << 63) - 1
_METRICS = tuple(metric.name for metric in EVERY_SAMPLE)
# What a listing may be sorted by; `-` in front turns it round.
SORTS: tuple[str, ...] = ("site", "state", *_COLUMNS, _AT, *_METRICS)


def page(
    connection: Connection, wanted: GpuFilter, now: int, *, limit: int, sort: str, cursor: str | None
) -> CountedPage[int]:
    """The ids of the GPUs on a page in an order of SORTS. Problem 422 where the cursor is bad."""
    name = sort.lstrip("-")
    sampled = newest([name] if name in _METRICS else [])
    order = _order(sort, now, sampled)
    place, conditions = paging.place(order, cursor), filters.of_gpus(wanted, now)
    if _is_of_fleet(wanted) and (wanted.use or name in _METRICS):
        fleet = present(connection, now, {*([USE] if wanted.use else []), *({name} & {*_METRICS})})
        those = _those(fleet, wanted)
        total, few = int(those.sum()), _few(connection, fleet, those, order, place, limit + 1)
        if wanted.use or few is not None:
            ids = fleet.gpus.gpu_id[those if few is None else few]
            conditions.append(filters.one_of(connection, gpus.c.gpu_id, ids.tolist()))
    else:
        if wanted.use:
            fleet = present(connection, now, [USE])
            ids = fleet.gpus.gpu_id[_those(fleet, wanted)]
            conditions.append(filters.one_of(connection, gpus.c.gpu_id, ids.tolist()))
        total = _count(connection, wanted, conditions)
        conditions += _of_nodes_nearby(connection, conditions, order, place, limit + 1)
    tables: FromClause = gpus.join(nodes, gpus.c.node_id == nodes.c.node_id)
    if name == _AT or name in _METRICS:
        tables = tables.outerjoin(sampled, sampled.c.gpu_id == gpus.c.gpu_id)
    query = select(gpus.c.gpu_id).select_from(tables).where(*conditions)
    rows, following = paging.cut(connection.execute(paging.page(query, order, limit, cursor)).all(), order, limit)
    return CountedPage([row.gpu_id for row in rows], following, total)


def _is_of_fleet(wanted: GpuFilter) -> bool:
    """Whether it only narrows to sites, models and uses, which arrays tell."""
    return wanted == GpuFilter(site=wanted.site, model=wanted.model, use=wanted.use)


def _those(fleet: Present, wanted: GpuFilter) -> Mask:
    """The GPUs of these sites and models, and where a use is asked for those that report and are used so."""
    those = fleet.owned & fleet.among(wanted.site, wanted.model)
    if wanted.use:
        those &= fleet.fresh & np.isin(fleet.stored[USE], wanted.use)
    return those


def _few(
    connection: Connection, fleet: Present, those: Mask, order: Order, place: Place | None, count: int
) -> Mask | None:
    """Those that may be among the first `count` behind a place, as few as arrays tell; None where they don't."""
    if order.name == "site":
        return _by_place(connection, fleet, those, place, count)
    if order.name.lstrip("-") in _METRICS:
        return _by_value(connection, fleet, those, order, place, count)
    return None


def _by_value(
    connection: Connection, fleet: Present, those: Mask, order: Order, place: Place | None, count: int
) -> Mask | None:
    name, descending = order.name.lstrip("-"), order.name.startswith("-")
    rising = -fleet.stored[name] if descending else fleet.stored[name]
    behind = those & fleet.here(name)
    tied = np.zeros_like(behind)
    if place is not None:
        value = int(place[0]) * (-1 if descending else 1)
        tied = _by_place(connection, fleet, behind & (rising == value), place[1:], count)
        behind &= rising > value
    if behind.sum() < count:
        # Some without a value may be on the page.
        return None
    last = np.partition(rising[behind], count - 1)[count - 1]
    sure: Mask = behind & (rising < last)
    # Equal values stand in the order of their places.
    sure |= tied | _by_place(connection, fleet, behind & (rising == last), None, count)
    return sure


def _by_place(connection: Connection, fleet: Present, those: Mask, place: Place | None, count: int) -> Mask:
    """Those that may be among the first `count` behind a place in the order PLACE."""
    rank = fleet.frame.rank[fleet.node]
    at = 0 if place is None else _rank(connection, fleet, place[: len(BY_NODE)])
    behind: Mask = those & (rank > at)
    if behind.sum() > count:
        behind &= rank <= np.partition(rank[behind], count - 1)[count - 1]
    # Of a node at that very place some may be behind it.
    found: Mask = behind | (those & (rank == at))
    return found


def _rank(connection: Connection, fleet: Present, place: Place) -> int:
    """The rank of the nodes at a place, or of those before it."""
    known = nodes.c.node_id <= int(fleet.frame.node_id.max(initial=0))
    query = select(nodes.c.node_id).where(known, paging.after(BY_NODE, place))
    following = connection.execute(query.order_by(*paging.directions(BY_NODE)).limit(1)).scalar()
    if following is None:
        return int(fleet.frame.rank.max(initial=0))
    return int(fleet.frame.rank[np.searchsorted(fleet.frame.node_id, following)]) - 1


def _of_nodes_nearby(
    connection: Connection, conditions: Conditions, order: Order, place: Place | None, count: int
) -> Conditions:
    """Where the order is by node: that GPUs are of the few nodes that may be on the page."""
    if order.name.lstrip("-") not in ("site", "hostname"):
        return []
    holding = exists(select(1).where(gpus.c.node_id == nodes.c.node_id, *conditions).correlate(nodes))
    inside = len(_IN_NODE)
    near = nearby(connection, order.keys[:-inside], holding, place and place[:-inside], count)
    return [] if near is None else [filters.one_of(connection, gpus.c.node_id, near)]


def _count(connection: Connection, wanted: GpuFilter, conditions: Conditions) -> int:
    alone = wanted == GpuFilter(model=wanted.model, use=wanted.use)
    tables = gpus if alone else gpus.join(nodes, gpus.c.node_id == nodes.c.node_id)
    return connection.execute(select(func.count()).select_from(tables).where(*conditions)).scalar_one()


def _order(sort: str, now: int, sampled: FromClause) -> Order:
    name, descending = sort.lstrip("-"), sort.startswith("-")
    if name == "state":
        return Order(sort, [Key(condition.severity(condition.gpu_state(now)), int, descending), *PLACE])
    if name == "site":
        return Order(sort, [*paging.nulls_last(nodes.c.site, str, descending=descending), *PLACE[2:]])
    if name in _COLUMNS:
        column, kind = _COLUMNS[name]
        return Order(sort, [*paging.nulls_last(column, kind, descending=descending), *PLACE])
    return Order(sort, [_value(sampled.c["ts" if name == _AT else name], descending=descending), *PLACE])


def _value(column: ColumnElement[int], *, descending: bool) -> Key:
    """Like `nulls_last`, but the value is read once: beyond all others stands who has none."""
    return Key(func.coalesce(column, -_BEYOND if descending else _BEYOND), int, descending)
