"""The fleet in one answer."""

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter
from fastapi import Query as FromQuery
from gpufleet_agent.catalogue import BY_NAME
from pydantic import Field

from gpufleet_server.api import errors
from gpufleet_server.api.answers import Answer, Instant, Quantity
from gpufleet_server.api.context import Given
from gpufleet_server.api.parameters import Models, Query, Sites
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.domain.state import GpuState, NodeState
from gpufleet_server.queries import events, fleet
from gpufleet_server.queries.filters import FleetFilter
from gpufleet_server.queries.fleet import Group, Sum, Totals
from gpufleet_server.queries.reading import reading

router = APIRouter()
_DAY = 86_400 * SECOND


class NodeCount(Answer):
    """How many nodes there are."""

    total: int
    by_state: dict[NodeState, int]


class GpuCount(Answer):
    """How many GPUs there are. `total` and `simulated` leave removed ones out."""

    total: int
    by_state: dict[GpuState, int]
    simulated: int


class Memory(Answer):
    """Device memory: `used` and `total` are of the same GPUs, those that report how much they use."""

    used: int | None
    total: int | None
    unit: str
    gpus: int = Field(description="over how many GPUs `used` and `total` are")
    installed: int = Field(description="memory of all GPUs, reporting or not, without removed ones")


class Part(Answer):
    """Some of the fleet. `gpus` leaves removed ones out."""

    gpus: int
    by_state: dict[GpuState, int]
    simulated: int
    gpu_utilization: Quantity = Field(description="mean")
    power: Quantity = Field(description="sum")
    memory_used: int | None = Field(description="B, of the GPUs that report it")
    memory_total: int | None = Field(description="B, of the same GPUs")
    memory_installed: int = Field(description="B, of all GPUs")


class ModelPart(Part):
    """The GPUs of one model; null is of those that do not say."""

    model: str | None


class SitePart(Part):
    """The GPUs of one site; null is of nodes without one."""

    site: str | None


class Summary(Answer):
    """The fleet now."""

    time: Instant
    nodes: NodeCount
    gpus: GpuCount
    power: Quantity = Field(description="sum")
    memory: Memory
    gpu_utilization: Quantity = Field(description="mean")
    by_model: list[ModelPart]
    by_site: list[SitePart]
    events_24h: dict[str, int] = Field(description="events of the last 24 hours by kind")


class SummaryQuery(Query):
    """Which part of the fleet."""

    site: Sites = Field([])
    model: Models = Field([])


@router.get("/summary", responses=errors.documented())
def summary(context: Given, query: Annotated[SummaryQuery, FromQuery()]) -> Summary:
    """The fleet, or a part of it, now: counts by state, power, memory and utilisation, and the last day's events."""
    now, wanted = context.now(), FleetFilter(site=query.site, model=query.model)
    with reading(context.store) as connection:
        found = fleet.overview(connection, wanted, now)
        kinds = events.by_kind(connection, wanted, now - _DAY)
    by_state = {state: found.nodes.get((state, True), 0) + found.nodes.get((state, False), 0) for state in NodeState}
    return _summary(now, by_state, found.groups, kinds)


def _summary(now: int, nodes: dict[NodeState, int], found: Sequence[Group], kinds: dict[str, int]) -> Summary:
    whole = fleet.totals(found)
    models = fleet.totals_by(sorted(found, key=lambda g: (g.model is None, g.model or "")), lambda g: g.model)
    return Summary(
        time=now,
        nodes=NodeCount(total=sum(nodes.values()), by_state=nodes),
        gpus=GpuCount(total=whole.gpus, by_state=whole.by_state, simulated=whole.simulated),
        power=_quantity("power", whole.power, whole.power.total),
        memory=Memory(
            used=_whole(whole.memory_used),
            total=_whole(whole.memory_total),
            unit=BY_NAME["fb_used"].unit.symbol,
            gpus=whole.memory_used.gpus,
            installed=whole.memory_installed,
        ),
        gpu_utilization=_quantity("gpu_utilization", whole.gpu_utilization, whole.gpu_utilization.mean),
        by_model=[ModelPart(model=model, **_part(part)) for model, part in models.items()],
        by_site=[SitePart(site=site, **_part(part)) for site, part in fleet.totals_by(found, lambda g: g.site).items()],
        events_24h=kinds,
    )


def _part(totals: Totals) -> dict[str, Any]:
    return {
        "gpus": totals.gpus,
        "by_state": totals.by_state,
        "simulated": totals.simulated,
        "gpu_utilization": _quantity("gpu_utilization", totals.gpu_utilization, totals.gpu_utilization.mean),
        "power": _quantity("power", totals.power, totals.power.total),
        "memory_used": _whole(totals.memory_used),
        "memory_total": _whole(totals.memory_total),
        "memory_installed": totals.memory_installed,
    }


def _quantity(metric: str, over: Sum, value: float | None) -> Quantity:
    return Quantity(value=value, unit=BY_NAME[metric].unit.symbol, gpus=over.gpus)


def _whole(over: Sum) -> int | None:
    return int(over.value) if over.gpus else None
