"""A GPU's metrics over time, a partition's, and those of all GPUs of a node."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter
from fastapi import Query as FromQuery
from gpufleet_agent.catalogue import METRICS, Metric
from pydantic import AfterValidator, Field

from gpufleet_server.api import errors
from gpufleet_server.api.answers import Answer, Instant, Number, ReasonText
from gpufleet_server.api.context import Given
from gpufleet_server.api.parameters import GpuName, Length, Metrics, NodeName, PartitionName, Query, Time, whole_range
from gpufleet_server.domain import times
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries import buckets, gpus, nodes, partitions, series
from gpufleet_server.queries.reading import reading
from gpufleet_server.queries.series import Column, Series

router = APIRouter()
_HOUR = 3600 * SECOND
_MOST_VALUES = 2_000_000
_RAW: Literal["raw"] = "raw"
_OBSERVED = (
    "time that samples cover, s; an increment over this is a rate. More than a step where only rollups are left: "
    "they stand in the step in which their hour or day ends"
)
_STEP = "seconds, or with a unit such as 5m or 1h, cut in UTC"


class MetricColumn(Answer):
    """A metric at each time."""

    unit: str
    kind: str
    rollup: str = Field(description="how the samples of a step became one value")
    values: list[Number | None]
    reasons: list[ReasonText | None] | None = Field(None, description="left out where no value is absent")


class _Columns(Answer):
    """Columns of equal length. At a step, `times` are the beginnings of steps; raw, the ends of samples' intervals."""

    start: Instant
    end: Instant
    step_s: Number | None = Field(description="null for raw samples")
    times: list[Instant]
    coverage: list[Number] = Field(description="share of the step that samples cover, 0 to 1")
    observed_s: list[Number] = Field(description=_OBSERVED)
    metrics: dict[str, MetricColumn]


class SamplesAnswer(_Columns):
    """A GPU's columns. At a step, `times` are the beginnings of steps; raw, the ends of samples' intervals."""

    gpu: str


class PartitionSamplesAnswer(_Columns):
    """A partition's columns, as a GPU's. Percentages are of the partition."""

    partition: str
    gpu: str | None = Field(description="of which GPU, null until its node has told")


class GpuSamples(Answer):
    """A GPU's columns, as long as `times`."""

    gpu: str
    index: int | None = Field(description="the driver's")
    coverage: list[Number] = Field(description="share of the step that samples cover, 0 to 1")
    observed_s: list[Number] = Field(description=_OBSERVED)
    metrics: dict[str, MetricColumn]


class NodeSamplesAnswer(Answer):
    """Every GPU that a node holds. `times` are the beginnings of steps."""

    node: str
    start: Instant
    end: Instant
    step_s: Number
    times: list[Instant]
    gpus: list[GpuSamples]


def _step(value: str) -> str:
    if value != _RAW:
        times.length(value)
    return value


class SamplesQuery(Query):
    """What of a GPU, when and how fine."""

    start: Time = Field(None, description="after this; an hour before `end` without it")
    end: Time = Field(None, description="up to and with this; now without it")
    step: Annotated[str, AfterValidator(_step)] | None = Field(
        None,
        max_length=32,
        description=f"{_STEP}; or `raw`; without it, one with at most 300 points",
        examples=["5m"],
    )
    metrics: Metrics = Field([], description="names, with commas or repeated; all without it")


class NodeSamplesQuery(Query):
    """What of a node's GPUs, when and how fine."""

    start: Time = Field(None, description="after this; an hour before `end` without it")
    end: Time = Field(None, description="up to and with this; now without it")
    step: Length | None = Field(None, description=f"{_STEP}; without it, one with at most 300 points", examples=["5m"])
    metrics: Metrics = Field([], description="names, with commas or repeated; all without it")


@router.get("/gpus/{id}/samples", responses=errors.documented(404, 409), response_model_exclude_unset=True)
def samples(context: Given, name: GpuName, query: Annotated[SamplesQuery, FromQuery()]) -> SamplesAnswer:
    """A GPU's metrics over a time at a step, with their coverage: at most 11,000 points, none later than now."""
    now = context.now()
    start, end = whole_range(query.start, query.end, now, _HOUR)
    wanted = _wanted(query.metrics)
    with reading(context.store) as connection:
        gpu = gpus.locate(connection, name, now)
        if query.step == _RAW:
            found = series.raw(connection, gpu.gpu_id, start, end, wanted)
        else:
            step = None if query.step is None else times.length(query.step)
            grid = buckets.grid(start, end, step, gpu.interval_ms).until(now)
            found = series.stepped(connection, gpu.gpu_id, grid, wanted)
    return SamplesAnswer(gpu=gpu.uuid, **_columns(start, end, found))


@router.get("/partitions/{id}/samples", responses=errors.documented(404), response_model_exclude_unset=True)
def partition_samples(
    context: Given, name: PartitionName, query: Annotated[SamplesQuery, FromQuery()]
) -> PartitionSamplesAnswer:
    """A partition's metrics, likewise; its percentages are of the partition. Without names, those that it can have."""
    now = context.now()
    start, end = whole_range(query.start, query.end, now, _HOUR)
    wanted = _wanted(query.metrics) if query.metrics else partitions.METRICS
    with reading(context.store) as connection:
        where = partitions.locate(connection, name)
        if query.step == _RAW:
            found = series.raw_of_partition(connection, where.node_id, where.slot, start, end, wanted)
        else:
            step = None if query.step is None else times.length(query.step)
            grid = buckets.grid(start, end, step, where.interval_ms).until(now)
            found = series.of_partition(connection, where.node_id, where.slot, grid, wanted)
    return PartitionSamplesAnswer(partition=where.uuid, gpu=where.gpu, **_columns(start, end, found))


@router.get("/nodes/{id}/samples", responses=errors.documented(404, 409), response_model_exclude_unset=True)
def node_samples(context: Given, name: NodeName, query: Annotated[NodeSamplesQuery, FromQuery()]) -> NodeSamplesAnswer:
    """The metrics of all GPUs that a node holds, by index, over a time at a step, read at once.

    At most 11,000 points and two million values: a point of each metric of each GPU.
    """
    now = context.now()
    start, end = whole_range(query.start, query.end, now, _HOUR)
    with reading(context.store) as connection:
        node = nodes.one(connection, name, now)
        grid, wanted = buckets.grid(start, end, query.step, node.interval_ms).until(now), _wanted(query.metrics)
        if (values := len(grid) * node.gpus * len(wanted)) > _MOST_VALUES:
            hint = "ask for fewer metrics, less time or a longer step"
            raise Problem(422, f"{values} values are more than {_MOST_VALUES}: {hint}", "step")
        found = series.of_node(connection, node.node_id, grid, wanted)
    parts = [
        GpuSamples(
            gpu=uuid,
            index=index,
            coverage=one.coverage,
            observed_s=[ms / 1000 for ms in one.observed],
            metrics={column.metric.name: _column(column) for column in one.columns},
        )
        for uuid, index, one in found
    ]
    return NodeSamplesAnswer(
        node=node.uuid, start=start, end=end, step_s=grid.step / SECOND, times=grid.begins(), gpus=parts
    )


def _wanted(names: list[str]) -> list[Metric]:
    return [metric for metric in METRICS if metric.name in names] if names else list(METRICS)


def _columns(start: int, end: int, found: Series) -> dict[str, Any]:
    return {
        "start": start,
        "end": end,
        "step_s": None if found.step is None else found.step / SECOND,
        "times": found.times,
        "coverage": found.coverage,
        "observed_s": [ms / 1000 for ms in found.observed],
        "metrics": {column.metric.name: _column(column) for column in found.columns},
    }


def _column(column: Column) -> MetricColumn:
    metric = column.metric
    gaps: dict[str, Any] = {"reasons": column.reasons} if any(column.reasons) else {}
    return MetricColumn(
        unit=metric.unit.symbol, kind=metric.kind.value, rollup=metric.rollup.value, values=column.values, **gaps
    )
