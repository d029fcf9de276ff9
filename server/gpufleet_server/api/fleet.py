"""The fleet over time, what it was used for, and quantiles over it."""

from typing import Annotated, Literal

from fastapi import APIRouter
from fastapi import Query as FromQuery
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, Kind
from pydantic import AfterValidator, Field

from gpufleet_server.api import errors
from gpufleet_server.api.answers import Answer, Instant, Number
from gpufleet_server.api.context import Given
from gpufleet_server.api.parameters import Length, Models, Query, Sites, Time, known, whole_range
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.domain.use import Use
from gpufleet_server.queries import fleet_history, quantiles
from gpufleet_server.queries.filters import FleetFilter
from gpufleet_server.queries.reading import reading

router = APIRouter(prefix="/fleet")
_DAY = 86_400 * SECOND
_SAMPLED = [metric.name for metric in EVERY_SAMPLE]
_GAUGES = [metric.name for metric in EVERY_SAMPLE if metric.kind is Kind.GAUGE]


def _sampled(name: str) -> str:
    return known("metric of every sample", _SAMPLED, name)


def _gauge(name: str) -> str:
    return known("gauge of every sample", _GAUGES, name)


Sampled = Annotated[
    str,
    AfterValidator(_sampled),
    Field(
        description="a metric of every sample; /metrics tells its unit and how it is rolled up",
        examples=["power"],
        json_schema_extra={"enum": _SAMPLED},
    ),
]
Gauge = Annotated[
    str,
    AfterValidator(_gauge),
    Field(
        description="a gauge of every sample; /metrics tells its unit",
        examples=["gpu_temperature"],
        json_schema_extra={"enum": _GAUGES},
    ),
]
Shares = Annotated[
    list[Annotated[float, Field(ge=0, le=1)]],
    Field(min_length=1, max_length=20, description="shares, 0 to 1: 0.5 is the median; may be repeated"),
]
Coverage = Number | None
Simulated = Annotated[
    Number | None,
    Field(description="share of what was observed that is of simulated GPUs, 0 to 1; null where nothing was observed"),
]


class FleetPart(Answer):
    """Some of the fleet at each time."""

    name: str | None = Field(description="the site, model or use; null for GPUs without one, or for the whole")
    values: list[Number | None] = Field(description="null where nothing was observed")
    observed_s: list[Number] = Field(description="GPU-seconds that samples cover")
    coverage: list[Coverage] = Field(
        description="share of the time of all its GPUs that samples cover, 0 to 1; null by use, which says itself"
    )
    simulated: Simulated


class HistoryAnswer(Answer):
    """A metric of the fleet. `times` are the beginnings of steps; means are weighted by time, sums are of a step."""

    metric: str
    unit: str
    rollup: str = Field(description="how the samples of a step became one value")
    by: str | None
    start: Instant
    end: Instant
    step_s: Number
    times: list[Instant]
    coverage: list[Coverage] = Field(description="of all parts together")
    simulated: Simulated
    parts: list[FleetPart]


class UsePart(Answer):
    """What some of the fleet was used for."""

    name: str | None = Field(description="the site or model; null for GPUs without one, or for the whole")
    gpu_hours: dict[str, Number] = Field(description="active, held, free and unknown, h")
    owned_gpu_hours: Number = Field(description="hours of all its GPUs, h")
    coverage: Coverage = Field(description="share of them that samples cover, 0 to 1; null where it had no GPUs")
    simulated: Simulated


class UseAnswer(Answer):
    """GPU-hours by use: active, something ran; held, nothing ran but a process or its memory kept others away; free."""

    by: str | None
    start: Instant
    end: Instant
    parts: list[UsePart]


class QuantilePart(Answer):
    """The quantiles of some of the fleet."""

    name: str | None = Field(description="the site or model; null for GPUs without one, or for the whole")
    values: list[Number | None] = Field(description="one for each of `q`; null where no GPU has a value")
    gpus: int = Field(description="how many GPUs report and have a value")
    simulated: Number | None = Field(description="share of those that is simulated, 0 to 1; null where there are none")
    owned: int = Field(description="how many there are")
    coverage: Coverage = Field(description="those that report and have a value as a share of all")


class QuantilesAnswer(Answer):
    """Nearest-rank quantiles over the GPUs that report now: each is a value that some GPU has."""

    metric: str
    unit: str
    by: str | None
    time: Instant
    q: list[Number]
    parts: list[QuantilePart]


class _Part(Query):
    site: Sites = Field([])
    model: Models = Field([])


class _Range(_Part):
    start: Time = Field(None, description="after this; a day before `end` without it")
    end: Time = Field(None, description="up to and with this; now without it")


class HistoryQuery(_Range):
    """Which metric of what, when and how fine."""

    metric: Sampled
    by: Literal["site", "model", "use"] | None = Field(None, description="the whole fleet without it")
    step: Length | None = Field(
        None,
        description="whole minutes: seconds, or with a unit such as 5m or 1h, cut in UTC; without it, one with at most "
        "300 points. Where only hours are left, a finer step has each hour's value in the step in which the hour ends",
        examples=["5m"],
    )


class UseQuery(_Range):
    """Of what and when."""

    by: Literal["site", "model"] | None = Field(None, description="the whole fleet without it")


class QuantilesQuery(_Part):
    """Which metric of what."""

    metric: Gauge
    q: Shares = Field([0.5, 0.95, 0.99])
    by: Literal["site", "model"] | None = Field(None, description="the whole fleet without it")


@router.get("/history", responses=errors.documented())
def fleet_history_over(context: Given, query: Annotated[HistoryQuery, FromQuery()]) -> HistoryAnswer:
    """A metric of the fleet, or a part of it, over a time: by site, model or use."""
    now = context.now()
    start, end = whole_range(query.start, query.end, now, _DAY)
    over = fleet_history.grid(start, end, query.step).until(now)
    wanted = FleetFilter(site=query.site, model=query.model)
    by: Literal["site", "model", "state"] | None = "state" if query.by == "use" else query.by
    with reading(context.store) as connection:
        found = fleet_history.history(connection, BY_NAME[query.metric], by, wanted, over)
    return HistoryAnswer(
        metric=query.metric,
        unit=found.metric.unit.symbol,
        rollup=found.metric.rollup.value,
        by=query.by,
        start=over.start,
        end=over.end,
        step_s=over.step / SECOND,
        times=found.times,
        coverage=found.coverage,
        simulated=_share(sum(line.simulated for line in found.lines), sum(sum(line.observed) for line in found.lines)),
        parts=[
            FleetPart(
                name=line.name,
                values=line.values,
                observed_s=[ms / 1000 for ms in line.observed],
                coverage=line.coverage,
                simulated=_share(line.simulated, sum(line.observed)),
            )
            for line in found.lines
        ],
    )


@router.get("/use", responses=errors.documented())
def fleet_use(context: Given, query: Annotated[UseQuery, FromQuery()]) -> UseAnswer:
    """For how many GPU-hours of a time the fleet, or a part of it, was active, held and free."""
    now = context.now()
    start, end = whole_range(query.start, query.end, now, _DAY)
    end = max(start, min(end, now))
    wanted = FleetFilter(site=query.site, model=query.model)
    with reading(context.store) as connection:
        found = fleet_history.use_hours(connection, query.by, wanted, start, end)
    parts = [
        UsePart(
            name=part.name,
            gpu_hours={use.word: part.hours[use] for use in (Use.ACTIVE, Use.HELD, Use.FREE, Use.UNKNOWN)},
            owned_gpu_hours=part.owned,
            coverage=part.coverage,
            simulated=part.simulated,
        )
        for part in found
    ]
    return UseAnswer(by=query.by, start=start, end=end, parts=parts)


@router.get("/quantiles", responses=errors.documented())
def fleet_quantiles(context: Given, query: Annotated[QuantilesQuery, FromQuery()]) -> QuantilesAnswer:
    """Quantiles of a gauge, such as gpu_temperature, over the GPUs that report now: by site or model."""
    now, metric, wanted = context.now(), BY_NAME[query.metric], FleetFilter(site=query.site, model=query.model)
    with reading(context.store) as connection:
        found = quantiles.quantiles(connection, metric, wanted, now, of=query.q, by=query.by)
    parts = [
        QuantilePart(
            name=part.name,
            values=part.values,
            gpus=part.gpus,
            simulated=_share(part.simulated, part.gpus),
            owned=part.owned,
            coverage=_share(part.gpus, part.owned),
        )
        for part in found
    ]
    return QuantilesAnswer(metric=metric.name, unit=metric.unit.symbol, by=query.by, time=now, q=query.q, parts=parts)


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
