"""What rollups have to say, worked out from samples one by one: to be held against what the store holds."""

import dataclasses
import functools
import operator
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from gpufleet_agent.catalogue import EVERY_SAMPLE, RESERVED, Metric, Rollup
from gpufleet_server.domain.use import Use, metrics, use
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import USES, begin_of, fleet_groups
from sqlalchemy import Table, select

from tests.server.stored import Sample

# (site, model, use, end of the window) → column → what is in it.
FleetRows = dict[tuple[str, str, str, int], dict[str, float | int | None]]


def points(samples: Sequence[Sample], step: int) -> list[Sample]:
    """A point for each GPU and window of `step` µs in which it has samples, or points; in their order."""
    windows: dict[tuple[str, str, int], list[Sample]] = defaultdict(list)
    for each in _with_uses(samples):
        windows[each.node, each.gpu, begin_of(each.ts, step) + step].append(each)
    return [_point(*key, some) for key, some in windows.items()]


def fleet_rows(store: Store, samples: Sequence[Sample], step: int) -> FleetRows:
    """The rows of the fleet's windows of `step` µs. The store tells where each GPU stands and what it is."""
    query = select(gpus.c.uuid, nodes.c.site, gpus.c.model).join(nodes, nodes.c.node_id == gpus.c.node_id)
    with store.reading() as connection:
        places = {uuid: (site or "", model or "") for uuid, site, model in connection.execute(query)}
    groups: dict[tuple[str, str, str, int], list[Sample]] = defaultdict(list)
    for each in _with_uses(samples):
        word = next((name for name in USES if each.stored[name]), Use.FREE.word)
        groups[*places[each.gpu], word, begin_of(each.ts, step) + step].append(each)
    return {key: _totals(some) for key, some in groups.items()}


def fleet_rows_held(store: Store, table: Table) -> FleetRows:
    """Those that the store holds, in `fleet_minutes` or `fleet_hours`."""
    group = (fleet_groups.c.site, fleet_groups.c.model, fleet_groups.c.state)
    query = select(*group, table).join(fleet_groups, fleet_groups.c.group_id == table.c.group_id)
    keys = ("site", "model", "state", "ts")
    with store.reading() as connection:
        rows = [dict(row) for row in connection.execute(query).mappings()]
    return {
        tuple(row[name] for name in keys): {n: v for n, v in row.items() if n not in (*keys, "group_id")}
        for row in rows
    }


def _with_uses(samples: Sequence[Sample]) -> list[Sample]:
    """Samples with their ms in USES, as points have them."""
    if not samples or USES[0] in samples[0].stored:
        return [*samples]
    uses = use({name: np.array([each.stored[name] for each in samples]) for name in metrics()})
    return [
        dataclasses.replace(each, stored=each.stored | _alone(Use(number).word, each.duration))
        for each, number in zip(samples, uses.tolist(), strict=True)
    ]


def _alone(word: str, duration: int) -> dict[str, int]:
    return {name: duration if name == word else 0 for name in USES}


def _point(node: str, gpu: str, end: int, samples: Sequence[Sample]) -> Sample:
    rolled = {metric.name: _rolled(metric, samples) for metric in EVERY_SAMPLE}
    of_uses = {name: sum(each.stored[name] for each in samples) for name in USES}
    return Sample(node, gpu, end, sum(each.duration for each in samples), rolled | of_uses)


def _there(metric: Metric, samples: Iterable[Sample]) -> list[tuple[int, int]]:
    """The values that are not absent, each with its ms."""
    told = ((each.stored[metric.name], each.duration) for each in samples)
    return [(value, ms) for value, ms in told if value >= metric.lowest + RESERVED]


def _rolled(metric: Metric, samples: Sequence[Sample]) -> int:
    there = _there(metric, samples)
    if not there:
        return samples[-1].stored[metric.name]
    if metric.rollup is not Rollup.MEAN:
        return _summary(metric, there)
    total = sum(ms for _, ms in there)
    return (2 * sum(value * ms for value, ms in there) + total) // (2 * total)


def _summary(metric: Metric, there: Iterable[tuple[int, int]]) -> int:
    values = [value for value, _ in there]
    match metric.rollup:
        case Rollup.MAX:
            return max(values)
        case Rollup.MIN:
            return min(values)
        case Rollup.ANY:
            return functools.reduce(operator.or_, values)
        case _:
            return sum(values)


def _totals(samples: Sequence[Sample]) -> dict[str, float | int | None]:
    totals: dict[str, float | int | None] = {"observed": sum(each.duration for each in samples)}
    for metric in EVERY_SAMPLE:
        there = _there(metric, samples)
        if metric.rollup in (Rollup.MEAN, Rollup.SUM):
            weight = [ms if metric.rollup is Rollup.MEAN else 1 for _, ms in there]
            totals[metric.name] = sum(value * each for (value, _), each in zip(there, weight, strict=True))
            totals[f"{metric.name}_ms"] = sum(ms for _, ms in there)
        else:
            totals[metric.name] = _summary(metric, there) if there else None
    return totals
