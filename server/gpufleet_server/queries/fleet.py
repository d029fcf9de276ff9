"""The fleet's totals. A mean or sum is over reporting GPUs that have a value, and says over how many."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from gpufleet_agent.catalogue import BY_NAME
from sqlalchemy import BigInteger, ColumnElement, Connection, Select, and_, case, cast, func, select

from gpufleet_server.domain.state import GpuState, NodeState
from gpufleet_server.queries import condition, filters
from gpufleet_server.queries.filters import FleetFilter
from gpufleet_server.store.newest import newest
from gpufleet_server.store.schema import gpus, nodes


@dataclasses.dataclass(frozen=True, slots=True)
class Sum:
    """A sum over `gpus` GPUs, in the metric's unit."""

    value: float
    gpus: int

    @property
    def mean(self) -> float | None:
        """The mean over those GPUs."""
        return self.value / self.gpus if self.gpus else None

    @property
    def total(self) -> float | None:
        """The sum, or None where no GPU has a value."""
        return self.value if self.gpus else None

    def __add__(self, other: "Sum") -> "Sum":
        return Sum(self.value + other.value, self.gpus + other.gpus)


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The GPUs of one site, model and state. Memory in bytes; total is that of the GPUs that say how much they use."""

    site: str | None
    model: str | None
    simulated: bool
    state: GpuState
    gpus: int
    gpu_utilization: Sum
    power: Sum
    memory_used: Sum
    memory_total: Sum
    memory_installed: int


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Groups taken together. `gpus` leaves removed ones out; `by_state` has every state."""

    gpus: int
    simulated: int
    by_state: dict[GpuState, int]
    gpu_utilization: Sum
    power: Sum
    memory_used: Sum
    memory_total: Sum
    memory_installed: int


_SUMMED = ("gpu_utilization", "power", "fb_used")
_NOTHING = Sum(0, 0)
_Key = TypeVar("_Key")


def groups(connection: Connection, wanted: FleetFilter, now: int) -> list[Group]:
    """The fleet by site, model, simulated or not, and state: few rows, whatever its size."""
    each = _each(wanted, now).subquery()
    by = [each.c[name] for name in ("site", "model", "simulated", "state")]
    sums = (each.c[name] for name in ("utilization", "power", "used", "total"))
    query = select(
        *by,
        func.count().label("gpus"),
        func.sum(each.c.memory_total).label("installed"),
        *(
            part
            for column in sums
            for part in (func.sum(column).label(column.name), func.count(column).label(f"{column.name}_gpus"))
        ),
    ).group_by(*by)
    # Ordered here: databases differ in where NULL sorts.
    found = [_group(row) for row in connection.execute(query)]
    return sorted(found, key=lambda g: (g.site is None, g.site or "", g.model is None, g.model or "", g.state))


def totals(of: Iterable[Group]) -> Totals:
    """Groups added up."""
    found = list(of)
    owned = [group for group in found if group.state is not GpuState.REMOVED]
    states = Counter(dict.fromkeys(GpuState, 0))
    for group in found:
        states[group.state] += group.gpus
    return Totals(
        gpus=sum(group.gpus for group in owned),
        simulated=sum(group.gpus for group in owned if group.simulated),
        by_state=dict(states),
        gpu_utilization=sum((group.gpu_utilization for group in found), _NOTHING),
        power=sum((group.power for group in found), _NOTHING),
        memory_used=sum((group.memory_used for group in found), _NOTHING),
        memory_total=sum((group.memory_total for group in found), _NOTHING),
        memory_installed=sum(group.memory_installed for group in owned),
    )


def totals_by(of: Iterable[Group], key: Callable[[Group], _Key]) -> dict[_Key, Totals]:
    """Totals for each value of a key, in the order in which they come."""
    parts: dict[_Key, list[Group]] = {}
    for group in of:
        parts.setdefault(key(group), []).append(group)
    return {value: totals(part) for value, part in parts.items()}


def nodes_by_state(connection: Connection, wanted: FleetFilter, now: int) -> dict[tuple[NodeState, bool], int]:
    """How many nodes there are of each state, simulated or not."""
    state = condition.node_state(now).label("state")
    each = select(state, nodes.c.simulated).where(*filters.of_fleet_nodes(wanted)).subquery()
    query = select(each.c.state, each.c.simulated, func.count()).group_by(each.c.state, each.c.simulated)
    return {(NodeState(state), simulated): count for state, simulated, count in connection.execute(query)}


def _each(wanted: FleetFilter, now: int) -> Select[Any]:
    """Each GPU with what it adds to the sums: NULL where it does not report, or gives no value."""
    sampled = newest(_SUMMED).c
    counts = condition.observed(now, sampled.ts)
    both = and_(counts, sampled.fb_used.is_not(None), gpus.c.memory_total.is_not(None))
    return (
        select(
            nodes.c.site,
            gpus.c.model,
            nodes.c.simulated,
            condition.gpu_state(now).label("state"),
            gpus.c.memory_total,
            _if(counts, sampled.gpu_utilization).label("utilization"),
            _if(counts, sampled.power).label("power"),
            _if(both, sampled.fb_used).label("used"),
            _if(both, gpus.c.memory_total).label("total"),
        )
        .join_from(gpus, nodes, gpus.c.node_id == nodes.c.node_id)
        .outerjoin(sampled.gpu_id.table, sampled.gpu_id == gpus.c.gpu_id)
        .where(*filters.of_fleet(wanted))
    )


def _if(counts: ColumnElement[bool], column: ColumnElement[Any]) -> ColumnElement[int | None]:
    return case((counts, cast(column, BigInteger)))


def _group(row: Any) -> Group:
    return Group(
        site=row.site,
        model=row.model,
        simulated=row.simulated,
        state=GpuState(row.state),
        gpus=row.gpus,
        gpu_utilization=_in_unit("gpu_utilization", row.utilization, row.utilization_gpus),
        power=_in_unit("power", row.power, row.power_gpus),
        memory_used=_in_unit("fb_used", row.used, row.used_gpus),
        memory_total=Sum(int(row.total or 0), row.total_gpus),
        memory_installed=int(row.installed or 0),
    )


def _in_unit(metric: str, stored: int | None, over: int) -> Sum:
    # A sum of many stored integers is outside the metric's width, not its scale.
    step = BY_NAME[metric].step
    return Sum(int(stored or 0) * step.numerator / step.denominator, over)
