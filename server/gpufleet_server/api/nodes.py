"""Nodes."""

from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Query as FromQuery
from gpufleet_agent.wire import Host
from pydantic import Field, WithJsonSchema

from gpufleet_server.api import errors
from gpufleet_server.api.answers import Answer, Instant, complete_schema
from gpufleet_server.api.context import Given
from gpufleet_server.api.gpus import GpuItem, item
from gpufleet_server.api.parameters import (
    Cursor,
    Limit,
    NodeName,
    NodesNamed,
    Nothing,
    Query,
    Simulated,
    Sites,
    Text,
)
from gpufleet_server.domain.state import NodeState
from gpufleet_server.queries import gpus, nodes
from gpufleet_server.queries.filters import NodeFilter
from gpufleet_server.queries.nodes import Node
from gpufleet_server.queries.reading import reading

router = APIRouter()
_US = 1_000_000


class DriverItem(Answer):
    """How the driver answered last."""

    state: str = Field(
        description="ok, unresponsive, absent, failed, or paused where the agent was told to let go of it"
    )
    since: Instant
    detail: str = Field(description="what is wrong, or why it is paused")
    version: str | None


class BacklogItem(Answer):
    """What the agent's spool held at its last report."""

    reports: int
    bytes: int
    dropped: int = Field(description="reports that had to be dropped")


class NodeItem(Answer):
    """A node: one host that runs an agent."""

    id: str
    hostname: str
    site: str | None
    room: str | None
    rack: str | None
    labels: dict[str, str]
    state: NodeState
    simulated: bool
    driver: DriverItem
    agent_version: str | None
    interval_s: float = Field(description="sampling interval, s")
    gpus: int = Field(description="how many GPUs it holds")
    first_seen: Instant
    last_seen: Instant
    clock_offset_s: float = Field(description="server minus agent, as last measured, s")
    clock_correction_s: float = Field(description="the offset that its times are corrected by, s")
    backlog: BacklogItem


class NodeDetail(NodeItem):
    """A node with all facts and its GPUs."""

    facts: Annotated[dict[str, Any], WithJsonSchema(complete_schema(Host, {"labels"}))] = Field(
        description="null where absent; `absent` says why, by field"
    )
    roster: list[GpuItem] = Field(description="its GPUs, by index")


class NodePage(Answer):
    """Some of the nodes."""

    items: list[NodeItem]
    next: str | None = Field(description="cursor of the next page; null at the end")
    total: int = Field(description="of the whole listing")


class NodesQuery(Query):
    """Which nodes."""

    site: Sites = Field([])
    node: NodesNamed = Field([])
    state: list[NodeState] = Field([], max_length=10, description="only in this state; may be repeated")
    simulated: Simulated = None
    q: Text | None = Field(None, description="part of a hostname, beginning of an id, or a DMI serial")
    limit: Limit = 100
    cursor: Cursor = None


@router.get("/nodes", responses=errors.documented())
def nodes_listing(context: Given, query: Annotated[NodesQuery, FromQuery()]) -> NodePage:
    """Nodes by site and hostname."""
    wanted = NodeFilter(site=query.site, node=query.node, state=query.state, simulated=query.simulated, q=query.q)
    with reading(context.store) as connection:
        page = nodes.listing(connection, wanted, context.now(), limit=query.limit, cursor=query.cursor)
    return NodePage(items=[NodeItem(**_fields(node)) for node in page.items], next=page.next, total=page.total)


@router.get("/nodes/{id}", responses=errors.documented(404, 409), response_model_exclude_unset=True)
def node(context: Given, name: NodeName, query: Annotated[Nothing, FromQuery()]) -> NodeDetail:
    """One node, by id or hostname, with all facts and its GPUs."""
    now = context.now()
    with reading(context.store) as connection:
        found = nodes.one(connection, name, now)
        roster = gpus.of_node(connection, found.node_id, now)
    return NodeDetail(**_fields(found), facts=found.facts, roster=[item(gpu) for gpu in roster])


def _fields(node: Node) -> dict[str, Any]:
    same = ("hostname", "site", "room", "rack", "labels", "state", "simulated", "agent_version", "gpus")
    return {name: getattr(node, name) for name in same} | {
        "id": node.uuid,
        "driver": DriverItem.model_validate(node.driver, from_attributes=True),
        "interval_s": node.interval_ms / 1000,
        "first_seen": node.first_seen,
        "last_seen": node.last_seen,
        "clock_offset_s": node.clock_measured / _US,
        "clock_correction_s": node.clock_applied / _US,
        "backlog": BacklogItem.model_validate(node.backlog, from_attributes=True),
    }
