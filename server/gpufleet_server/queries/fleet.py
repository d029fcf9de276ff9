"""The fleet's totals. A mean or sum is over reporting GPUs that have a value, and says over how many."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
from gpufleet_agent.catalogue import BY_NAME
from numpy.typing import NDArray
from sqlalchemy import Connection

from gpufleet_server.domain.state import GpuState, NodeState
from gpufleet_server.queries.filters import FleetFilter
from gpufleet_server.queries.present import STATES, Present, present


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


@dataclasses.dataclass(frozen=True, slots=True)
class Overview:
    """A part of the fleet now: its GPUs in few groups, whatever its size; (state, simulated) → how many nodes."""

    groups: list[Group]
    nodes: dict[tuple[NodeState, bool], int]


_SUMMED = ("gpu_utilization", "power", "fb_used")
_NOTHING = Sum(0, 0)
_Key = TypeVar("_Key")


def overview(connection: Connection, wanted: FleetFilter, now: int) -> Overview:
    """What there is at `now` (µs)."""
    fleet = present(connection, now, _SUMMED)
    return Overview(_groups(fleet, wanted), _nodes(fleet, wanted))


def _groups(fleet: Present, wanted: FleetFilter) -> list[Group]:
    those = fleet.among(wanted.site, wanted.model)
    shape = (len(fleet.sites), len(fleet.gpus.models), 2, len(STATES))
    if not those.any():
        return []
    key = np.ravel_multi_index((fleet.site, fleet.gpus.model, fleet.simulated.astype(np.int64), fleet.state), shape)
    # GPUs of one group side by side; the narrower the key, the quicker it is sorted.
    order = np.flatnonzero(those)
    order = order[np.argsort(key[order].astype(np.min_scalar_type(math.prod(shape))), kind="stable")]
    begins = np.flatnonzero(np.diff(key[order], prepend=-1))
    sums = {name: np.add.reduceat(cells[order], begins).tolist() for name, cells in _cells(fleet).items()}
    found = []
    for number, place in enumerate(key[order[begins]].tolist()):
        of_group = {name: each[number] for name, each in sums.items()}
        found.append(_group(fleet, [int(part) for part in np.unravel_index(place, shape)], of_group))
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


def _nodes(fleet: Present, wanted: FleetFilter) -> dict[tuple[NodeState, bool], int]:
    those = fleet.nodes_among(wanted.site, wanted.model)
    kinds = Counter(zip(fleet.node_state[those].tolist(), fleet.frame.simulated[those].tolist(), strict=True))
    return {(NodeState(STATES[state].value), simulated): count for (state, simulated), count in kinds.items()}


def _cells(fleet: Present) -> dict[str, NDArray[np.int64]]:
    """What each GPU adds to the sums and to the numbers of GPUs that they are over."""
    cells = {"gpus": np.ones_like(fleet.state), "installed": np.maximum(fleet.gpus.memory, 0)}
    for name in _SUMMED:
        counts = fleet.fresh & fleet.here(name)
        if name == "fb_used":
            counts &= fleet.gpus.memory >= 0
            cells["total"] = np.where(counts, fleet.gpus.memory, 0)
        cells |= {name: np.where(counts, fleet.stored[name], 0), f"{name}_gpus": counts.astype(np.int64)}
    return cells


def _group(fleet: Present, key: list[int], sums: dict[str, int]) -> Group:
    site, model, simulated, state = key
    return Group(
        site=fleet.sites[site],
        model=fleet.gpus.models[model],
        simulated=bool(simulated),
        state=STATES[state],
        gpus=sums["gpus"],
        gpu_utilization=_in_unit("gpu_utilization", sums),
        power=_in_unit("power", sums),
        memory_used=_in_unit("fb_used", sums),
        memory_total=Sum(sums["total"], sums["fb_used_gpus"]),
        memory_installed=sums["installed"],
    )


def _in_unit(metric: str, sums: dict[str, int]) -> Sum:
    # A sum of many stored integers is outside the metric's width, not its scale.
    step = BY_NAME[metric].step
    return Sum(sums[metric] * step.numerator / step.denominator, sums[f"{metric}_gpus"])
