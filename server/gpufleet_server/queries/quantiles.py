"""Quantiles of a metric over the GPUs that report now, by site or model."""

import bisect
import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import Literal

from gpufleet_agent.catalogue import Metric
from sqlalchemy import Connection, case, func, literal, select

from gpufleet_server.queries import condition, filters
from gpufleet_server.queries.filters import FleetFilter
from gpufleet_server.store.newest import newest
from gpufleet_server.store.schema import gpus, nodes

By = Literal["site", "model"]


@dataclasses.dataclass(frozen=True, slots=True)
class Quantiles:
    """A part of the fleet (None: those without a site or model, or all).

    `values` are in the metric's unit, one for each quantile asked for, each a value that a GPU has; None where no
    GPU has one. `gpus` are those that report now and have a value, `owned` all that there are.
    """

    name: str | None
    values: list[float | int | None]
    gpus: int
    owned: int


def quantiles(
    connection: Connection, metric: Metric, wanted: FleetFilter, now: int, *, of: Sequence[float], by: By | None = None
) -> list[Quantiles]:
    """The nearest-rank quantiles (0 to 1) of a metric of every sample: the parts by name, those without a name last."""
    sampled = newest([metric.name])
    name = {"site": nodes.c.site, "model": gpus.c.model, None: literal(None)}[by].label("name")
    value = case((condition.observed(now, sampled.c.ts), sampled.c[metric.name])).label("value")
    query = (
        select(name, value, func.count())
        .join_from(gpus, nodes, gpus.c.node_id == nodes.c.node_id)
        .outerjoin(sampled, sampled.c.gpu_id == gpus.c.gpu_id)
        .where(gpus.c.removed_at.is_(None), *filters.of_fleet(wanted))
        .group_by(*([name, value] if by else [value]))
    )
    # How often each value occurs is enough, is few rows, and is counted in the same way by every database.
    parts: dict[str | None, dict[int | None, int]] = {}
    for part, stored, count in connection.execute(query):
        parts.setdefault(part, {})[stored] = count
    names = sorted(parts, key=lambda part: (part is None, part or ""))
    return [_quantiles(metric, part, parts[part], of) for part in names]


def _quantiles(metric: Metric, name: str | None, counts: dict[int | None, int], of: Sequence[float]) -> Quantiles:
    present = sorted((stored, count) for stored, count in counts.items() if stored is not None)
    up_to = list(itertools.accumulate(count for _, count in present))
    owned = sum(counts.values())
    if not present:
        return Quantiles(name, [None] * len(of), 0, owned)
    ranks = (min(max(math.ceil(share * up_to[-1]), 1), up_to[-1]) for share in of)
    found = [present[bisect.bisect_left(up_to, rank)][0] for rank in ranks]
    return Quantiles(name, [metric.value(stored) for stored in found], up_to[-1], owned)
