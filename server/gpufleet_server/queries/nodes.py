"""Nodes: a listing, and one of them."""

import dataclasses
from typing import Any

from gpufleet_agent.wire import Host
from sqlalchemy import Connection, Row, Select, func, select

from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.state import NodeState
from gpufleet_server.queries import condition, filters, paging
from gpufleet_server.queries.filters import NodeFilter
from gpufleet_server.queries.frame import BY_NODE
from gpufleet_server.queries.paging import CountedPage, Key, Order
from gpufleet_server.store.schema import gpus, nodes

_ORDER = Order("node", [*BY_NODE, Key(nodes.c.node_id, int)])


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """How a node's driver answered last; `since` in µs."""

    state: str
    since: int
    detail: str
    version: str | None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What a node's spool held at its last report."""

    reports: int
    bytes: int
    dropped: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node. Times in µs; offsets are server minus agent, as measured and as applied, µs; `gpus` counts those it has.

    `facts` holds every field of wire.Host but the labels, None where absent, and `absent` (field -> reason).
    """

    node_id: int
    uuid: str
    hostname: str
    site: str | None
    room: str | None
    rack: str | None
    labels: dict[str, str]
    state: NodeState
    simulated: bool
    driver: Driver
    agent_version: str | None
    interval_ms: int
    gpus: int
    first_seen: int
    last_seen: int
    clock_measured: int
    clock_applied: int
    backlog: Backlog
    facts: dict[str, Any]


def listing(
    connection: Connection, wanted: NodeFilter, now: int, *, limit: int, cursor: str | None = None
) -> CountedPage[Node]:
    """Nodes by site and hostname."""
    conditions = filters.of_nodes(wanted, now)
    total = connection.execute(select(func.count()).select_from(nodes).where(*conditions)).scalar_one()
    query = paging.page(_nodes(now).where(*conditions), _ORDER, limit, cursor)
    rows, following = paging.cut(connection.execute(query).all(), _ORDER, limit)
    return CountedPage([_node(row) for row in rows], following, total)


def one(connection: Connection, name: str, now: int) -> Node:
    """The node of this id or hostname. Problem 404 where there is none, 409 where a hostname is that of several."""
    rows = connection.execute(_nodes(now).where(*filters.named([name])).limit(20)).all()
    exact = [row for row in rows if row.uuid == name] or rows
    if not exact:
        raise Problem(404, f"no node has the id or hostname {name!r}", "id")
    if len(exact) > 1:
        raise Problem(
            409, f"{name!r} is the hostname of {', '.join(row.uuid for row in exact)}: ask for one by id", "id"
        )
    return _node(exact[0])


def _nodes(now: int) -> Select[Any]:
    held = select(func.count()).select_from(gpus).where(filters.of_node()).correlate(nodes).scalar_subquery()
    return select(nodes, condition.node_state(now).label("state"), held.label("gpus"))


def _node(row: Row[Any]) -> Node:
    facts = host_facts(row.facts)
    return Node(
        node_id=row.node_id,
        uuid=row.uuid,
        hostname=row.hostname,
        site=row.site,
        room=row.room,
        rack=row.rack,
        labels=facts.pop("labels"),
        state=NodeState(row.state),
        simulated=row.simulated,
        driver=Driver(
            state=row.driver_state,
            since=row.driver_since,
            detail=row.driver_detail,
            version=facts["driver_version"],
        ),
        agent_version=row.agent_version,
        interval_ms=row.interval_ms,
        gpus=row.gpus,
        first_seen=row.first_seen,
        last_seen=row.last_seen,
        clock_measured=row.clock_measured,
        clock_applied=row.clock_offset,
        backlog=Backlog(reports=row.backlog_reports, bytes=row.backlog_bytes, dropped=row.backlog_dropped),
        facts=facts,
    )


def host_facts(stored: dict[str, Any]) -> dict[str, Any]:
    """Every field of wire.Host: None where it was left out; labels and absences are dicts."""
    empty = {"labels": {}, "absent": {}, "simulated": False}
    return {field: stored.get(field, empty.get(field)) for field in Host.__struct_fields__}
