"""The GPUs of many nodes side by side, a column each, so that one pass of arithmetic serves them all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import EVERY_SAMPLE, METRICS
from numpy.typing import NDArray

from gpufleet_server.simulate.faults import Fault, FaultKind
from gpufleet_server.simulate.models import MIG_ABSENT, GpuModel
from gpufleet_server.simulate.noise import Floats, Integers, Keys, key, once
from gpufleet_server.simulate.plan import JOB_SECONDS, SimNode, Site, Use


@dataclass(frozen=True, eq=False)
class Boards:
    """What does not change over time, one entry a GPU (C of them); units as in `GpuModel`.

    `job_keys` are alike for GPUs that run the same job; `phase` is when a GPU changes its job, in seconds into the
    job's time; `uneven` is what GPUs of a node differ by, a factor around 1; `weakness`, 0 (most) to 1, is how prone
    the memory is to errors; `site` indexes `sites`, `thresholds` (4 × C) part the kinds of jobs. `unsupported` holds
    the columns that can't give a metric, `present` how many metrics of every sample each GPU gives.
    """

    nodes: tuple[SimNode, ...]
    first: tuple[int, ...]
    keys: Keys
    job_keys: Keys
    phase: Integers
    uneven: Floats
    weakness: Floats
    sites: tuple[Site, ...]
    site: Integers
    inlet: Floats
    thresholds: Floats
    model: dict[str, Floats]
    steady_clocks: NDArray[np.bool_]
    unsupported: dict[str, Integers]
    present: Integers

    @classmethod
    def of(cls, nodes: Sequence[SimNode]) -> Boards:
        """The GPUs of these nodes, in order."""
        counts = [node.count for node in nodes]
        keys = np.concatenate([node.keys for node in nodes])
        job_keys = np.concatenate([_job_keys(node) for node in nodes])
        sites = tuple(dict.fromkeys(node.site for node in nodes))
        lacking = np.concatenate([_lacking(node.model, node.partitioned, node.count) for node in nodes], axis=1)
        unsupported = {
            name: np.flatnonzero(lacking[number]) for number, name in enumerate(_NAMES) if lacking[number].any()
        }
        return cls(
            nodes=tuple(nodes),
            first=tuple(np.cumsum([0, *counts]).tolist()),
            keys=keys,
            job_keys=job_keys,
            phase=(once(job_keys, 11) * JOB_SECONDS).astype(np.int64),
            uneven=0.99 + 0.02 * once(keys, 12),
            weakness=once(keys, 13),
            sites=sites,
            site=np.repeat([sites.index(node.site) for node in nodes], counts),
            inlet=np.repeat([node.site.inlet for node in nodes], counts),
            thresholds=np.repeat([_PARTED[node.use] for node in nodes], counts, axis=0).T.copy(),
            model={field: np.repeat([_number(node.model, field) for node in nodes], counts) for field in _FIELDS},
            steady_clocks=np.repeat([node.model.steady_clocks for node in nodes], counts),
            unsupported=unsupported,
            present=len(EVERY_SAMPLE) - lacking[_SAMPLED].sum(axis=0),
        )

    def __len__(self) -> int:
        return len(self.keys)

    def columns(self, number: int) -> slice:
        """The columns of one node's GPUs."""
        return slice(self.first[number], self.first[number + 1])

    def faults(self, kind: FaultKind) -> Iterator[tuple[slice, Fault]]:
        """Faults of a kind, each with the columns it strikes: one GPU's, or those of a whole node."""
        for number, fault in self._faults.get(kind, ()):
            first = self.first[number] + (fault.gpu or 0)
            yield (self.columns(number) if fault.gpu is None else slice(first, first + 1)), fault

    @cached_property
    def _faults(self) -> dict[FaultKind, list[tuple[int, Fault]]]:
        known: dict[FaultKind, list[tuple[int, Fault]]] = {}
        for number, node in enumerate(self.nodes):
            for fault in node.faults:
                known.setdefault(fault.kind, []).append((number, fault))
        return known


_FIELDS = (
    "power_idle", "power_limit", "slowdown", "heat", "reserved", "memory", "clock_idle", "clock_max", "memory_clock",
    "memory_clock_idle", "video_clock", "pcie_generation", "link_rate", "nvlinks",
)  # fmt: skip
_NAMES = tuple(metric.name for metric in METRICS)
_SAMPLED = np.array([metric in EVERY_SAMPLE for metric in METRICS])
_PARTED: dict[Use, Any] = {use: np.cumsum(use.value)[:4] for use in Use}


def _number(model: GpuModel, field: str) -> float:
    return float(getattr(model, field))


def _job_keys(node: SimNode) -> Keys:
    # The training nodes of a rack have one job together.
    if node.use is Use.TRAINING:
        return np.full(node.count, key(node.seed, node.site.name, node.rack, "job"), np.uint64)
    return node.keys


@cache
def _lacking(model: GpuModel, partitioned: int, count: int) -> NDArray[np.bool_]:
    """Which metrics (rows) each of a node's GPUs (columns) can't give."""
    lacking = np.zeros((len(_NAMES), count), dtype=np.bool_)
    for row, name in enumerate(_NAMES):
        lacking[row, : count if name in model.absent else partitioned * (name in MIG_ABSENT)] = True
    return lacking
