"""The catalogue of metrics."""

from typing import Annotated

from fastapi import APIRouter
from fastapi import Query as FromQuery
from gpufleet_agent.catalogue import METRICS, Metric
from pydantic import Field

from gpufleet_server.api import errors
from gpufleet_server.api.answers import Answer
from gpufleet_server.api.parameters import Nothing

router = APIRouter()


class Flag(Answer):
    """One bit of a metric of flags."""

    bit: int = Field(description="its value, such as 8")
    name: str


class MetricItem(Answer):
    """An entry of the catalogue."""

    name: str
    unit: str
    kind: str = Field(description="gauge, increment or state")
    cadence: str = Field(description="`every sample`, or `on change`")
    rollup: str = Field(description="how samples become one value over a longer time")
    help: str
    flags: list[Flag]


class Catalogue(Answer):
    """Every metric."""

    items: list[MetricItem]


@router.get("/metrics", responses=errors.documented())
def metrics(query: Annotated[Nothing, FromQuery()]) -> Catalogue:
    """Every metric there is: its name, unit, kind, and how it is rolled up."""
    return Catalogue(items=[_item(metric) for metric in METRICS])


def _item(metric: Metric) -> MetricItem:
    return MetricItem(
        name=metric.name,
        unit=metric.unit.symbol,
        kind=metric.kind.value,
        cadence=metric.cadence.value,
        rollup=metric.rollup.value,
        help=metric.help,
        flags=[Flag(bit=bit, name=name) for bit, name in metric.flags],
    )
