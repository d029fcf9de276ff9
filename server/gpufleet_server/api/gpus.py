"""GPUs."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi import Query as FromQuery
from gpufleet_agent.catalogue import METRICS, Kind
from gpufleet_agent.wire import Gpu as WireGpu
from gpufleet_agent.wire import Partition as WirePartition
from pydantic import ConfigDict, Field

from gpufleet_server.api import errors
from gpufleet_server.api.answers import Answer, Instant, NodeName, Number, ReasonText, complete_schema
from gpufleet_server.api.context import Given
from gpufleet_server.api.holders import HoldingAnswer, holding
from gpufleet_server.api.parameters import (
    Cursor,
    GpuName,
    Limit,
    Models,
    NodesNamed,
    Nothing,
    Query,
    Simulated,
    Sites,
    Sort,
    Text,
)
from gpufleet_server.domain.state import GpuState
from gpufleet_server.domain.use import Use
from gpufleet_server.queries import gpus
from gpufleet_server.queries.filters import GpuFilter
from gpufleet_server.queries.gpus import Gpu, GpuDetail
from gpufleet_server.queries.latest import Reading
from gpufleet_server.queries.partitions import Partition
from gpufleet_server.queries.reading import reading

router = APIRouter()
_UNITS = {metric.name: metric.unit.symbol for metric in METRICS}


class Value(Answer):
    """A metric's newest value, or null and why."""

    value: Number | None
    unit: str
    reason: ReasonText | None
    flags: list[str] | None = Field(None, description="only for flags: the names of those that are set")


class FullValue(Value):
    """A metric's newest value with all that is known of it."""

    kind: str = Field(description="gauge, increment or state")
    at: Instant | None = Field(description="end of the sample's interval, or since when a state holds")
    stored: int | None = Field(description="the integer in the store")
    rate: Number | None = Field(None, description="only for an increment: the value a second")


class GpuItem(Answer):
    """A GPU with its newest sample."""

    id: str = Field(description="UUID")
    node: NodeName
    site: str | None
    room: str | None
    rack: str | None
    index: int | None = Field(description="the driver's")
    state: GpuState
    simulated: bool
    vendor: str | None
    model: str | None
    serial: str | None
    pci_address: str | None
    memory_total: int | None = Field(description="B")
    mig_mode: str | None = Field(description="enabled where the GPU is partitioned")
    at: Instant | None = Field(description="time of its newest sample; of one that is lost, since when it is")
    metrics: dict[str, Value] = Field(description="by name, as /metrics lists them")
    holders: list[HoldingAnswer] | None = Field(
        description="who holds it or a partition of it now, or did when that was last seen; null where its node's "
        "agent does not tell, or does not see it"
    )


_IDENTITY = complete_schema(WireGpu, {"uuid", "state", "partitions", "absent"})
_PARTITION = complete_schema(WirePartition)


def _describe_identity(schema: dict[str, Any]) -> None:
    schema["properties"] = _IDENTITY["properties"] | schema["properties"]
    schema["required"] = list(dict.fromkeys([*schema["required"], *_IDENTITY["required"]]))


def _describe_partition(schema: dict[str, Any]) -> None:
    schema["properties"] = _PARTITION["properties"] | schema["properties"]
    schema["required"] = list(dict.fromkeys([*schema["required"], *_PARTITION["required"]]))


class PartitionItem(Answer):
    """A MIG instance of a GPU with its newest sample. Its percentages are of the instance: by `share` of its GPU."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_describe_partition)

    first_seen: Instant
    at: Instant | None = Field(description="time of its newest sample")
    metrics: dict[str, Value] = Field(description="by name, those that partitions have")


class GpuAnswer(GpuItem):
    """A GPU with its identity, its partitions, and the newest value of every metric. W, MHz, °C and B throughout."""

    model_config = ConfigDict(extra="allow", json_schema_extra=_describe_identity)

    metrics: dict[str, FullValue]  # type: ignore[assignment]
    absent: dict[str, str] = Field(description="why a field of the identity is null, by field")
    partitions: list[PartitionItem] = Field(description="MIG instances")
    first_seen: Instant
    removed_at: Instant | None = Field(description="when its node no longer held it")


class GpuPage(Answer):
    """Some of the GPUs."""

    items: list[GpuItem]
    next: str | None = Field(description="cursor of the next page; null at the end")
    total: int = Field(description="of the whole listing")


class GpusQuery(Query):
    """Which GPUs, and in what order."""

    site: Sites = Field([])
    node: NodesNamed = Field([])
    model: Models = Field([])
    state: list[GpuState] = Field([], max_length=10, description="without it, all but removed ones")
    use: list[Literal["active", "held", "free", "unknown"]] = Field(
        [], max_length=10, description="what those that report are used for, by their newest sample"
    )
    simulated: Simulated = None
    q: Text | None = Field(None, description="beginning of a UUID or serial, or part of a hostname")
    sort: Sort = Field("site", description="`-` in front for the highest first; without a value come last")
    limit: Limit = 100
    cursor: Cursor = None


@router.get("/gpus", responses=errors.documented(), response_model_exclude_unset=True)
def gpus_listing(context: Given, query: Annotated[GpusQuery, FromQuery()]) -> GpuPage:
    """GPUs with their newest samples, by site, hostname and index or as `sort` says."""
    wanted = GpuFilter(
        site=query.site,
        node=query.node,
        model=query.model,
        state=query.state,
        use=[Use[word.upper()] for word in query.use],
        simulated=query.simulated,
        q=query.q,
    )
    with reading(context.store) as connection:
        page = gpus.listing(connection, wanted, context.now(), limit=query.limit, sort=query.sort, cursor=query.cursor)
    return GpuPage(items=[item(gpu) for gpu in page.items], next=page.next, total=page.total)


@router.get("/gpus/{id}", responses=errors.documented(404, 409), response_model_exclude_unset=True)
def gpu(context: Given, name: GpuName, query: Annotated[Nothing, FromQuery()]) -> GpuAnswer:
    """One GPU, by UUID or serial, with everything that is known of it."""
    with reading(context.store) as connection:
        found = gpus.one(connection, name, context.now())
    return _answer(found)


def item(gpu: Gpu) -> GpuItem:
    """A GPU as listings give it."""
    # In one call: a page may hold tens of thousands of values.
    return GpuItem.model_validate(_fields(gpu) | {"metrics": {name: _value(one) for name, one in gpu.metrics.items()}})


def _answer(found: GpuDetail) -> GpuAnswer:
    fields = _fields(found.gpu, detailed=True)
    rest = {name: value for name, value in found.identity.items() if name in _IDENTITY["required"]}
    return GpuAnswer(
        **(rest | fields),
        metrics={name: _full(reading) for name, reading in found.gpu.metrics.items()},
        absent=found.absent,
        partitions=[_partition(partition) for partition in found.partitions],
        first_seen=found.first_seen,
        removed_at=found.removed_at,
    )


def _partition(found: Partition) -> PartitionItem:
    metrics = {name: _value(reading) for name, reading in found.metrics.items()}
    told = {"first_seen": found.first_seen, "at": found.at, "metrics": metrics}
    return PartitionItem.model_validate(found.facts | told)


def _fields(gpu: Gpu, *, detailed: bool = False) -> dict[str, Any]:
    same = ("site", "room", "rack", "index", "state", "simulated", "vendor", "model", "serial", "pci_address")
    return {name: getattr(gpu, name) for name in same} | {
        "id": gpu.uuid,
        "node": NodeName(id=gpu.node_id, hostname=gpu.hostname),
        "memory_total": gpu.memory_total,
        "mig_mode": gpu.mig_mode,
        "at": gpu.at,
        "holders": None
        if gpu.holdings is None
        else [holding(each, gpu.holdings_at or 0, detailed=detailed) for each in gpu.holdings],
    }


def _value(reading: Reading) -> dict[str, Any]:
    value: dict[str, Any] = {"value": reading.value, "unit": _UNITS[reading.metric.name], "reason": reading.reason}
    if reading.metric.flags:
        value["flags"] = None if reading.stored is None else reading.metric.flag_names(reading.stored)
    return value


def _full(reading: Reading) -> FullValue:
    rate: dict[str, Any] = {"rate": reading.rate} if reading.metric.kind is Kind.INCREMENT else {}
    kind = reading.metric.kind.value
    return FullValue(**_value(reading), **rate, kind=kind, at=reading.at, stored=reading.stored)
