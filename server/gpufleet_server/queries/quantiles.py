"""Quantiles of a metric over the GPUs that report now, by site or model."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from gpufleet_agent.catalogue import Metric
from sqlalchemy import Connection

from gpufleet_server.queries.filters import FleetFilter
from gpufleet_server.queries.present import present

By = Literal["site", "model"]


@dataclasses.dataclass(frozen=True, slots=True)
class Quantiles:
    """A part of the fleet (None: those without a site or model, or all).

    `values` are in the metric's unit, one for each quantile asked for, each a value that a GPU has; None where no
    GPU has one. `gpus` are those that report now and have a value, `simulated` how many of them are simulated, `owned`
    all that there are.
    """

    name: str | None
    values: list[float | int | None]
    gpus: int
    simulated: int
    owned: int


def quantiles(
    connection: Connection, metric: Metric, wanted: FleetFilter, now: int, *, of: Sequence[float], by: By | None = None
) -> list[Quantiles]:
    """The nearest-rank quantiles (0 to 1) of a metric of every sample: the parts by name, those without a name last."""
    fleet = present(connection, now, [metric.name])
    those = fleet.owned & fleet.among(wanted.site, wanted.model)
    known = fleet.fresh & fleet.here(metric.name)
    none: list[str | None] = [None]
    part = {"site": fleet.site, "model": fleet.gpus.model, None: np.zeros_like(fleet.site)}[by]
    names = {"site": fleet.sites, "model": fleet.gpus.models, None: none}[by]
    found = []
    for place in np.unique(part[those]).tolist():
        inside = those & (part == place)
        simulated = int((inside & known & fleet.simulated).sum())
        stored = np.sort(fleet.stored[metric.name][inside & known])
        values = [metric.value(int(stored[_rank(share, len(stored))])) if len(stored) else None for share in of]
        found.append(Quantiles(names[place], values, len(stored), simulated, int(inside.sum())))
    return sorted(found, key=lambda one: (one.name is None, one.name or ""))


def _rank(share: float, count: int) -> int:
    return min(max(math.ceil(share * count), 1), count) - 1
