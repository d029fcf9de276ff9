"""What a simulated fleet reports over some hours, made once so that every system gets the same."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from gpufleet_agent import wire
from gpufleet_agent.catalogue import EVERY_SAMPLE, RESERVED, Kind
from gpufleet_server.simulate import physics
from gpufleet_server.simulate.identity import gpu_uuid, roster
from gpufleet_server.simulate.plan import SimNode, fleet
from numpy.typing import NDArray

HOUR = 3600
_DTYPE = {2: "<i2", 4: "<i4", 8: "<i8"}


@dataclass(frozen=True)
class NodeLoad:
    """A node and its samples: metric → times × GPUs of stored integers, as wide as on the wire."""

    node: SimNode
    times: NDArray[np.int64]
    stored: dict[str, NDArray[np.signedinteger]]

    @cached_property
    def uuids(self) -> list[str]:
        """The node's GPUs."""
        return [gpu_uuid(self.node, index) for index in range(self.node.count)]

    def present(self) -> NDArray[np.bool_]:
        """Which values are there: metrics × GPUs × times."""
        lowest = [metric.lowest + RESERVED for metric in EVERY_SAMPLE]
        return np.stack([low <= self.stored[m.name].T for m, low in zip(EVERY_SAMPLE, lowest, strict=True)])

    def values(self) -> NDArray[np.float64]:
        """The values in their units, metrics × GPUs × times; what grows is counted up. Absent ones mean nothing."""
        rows = []
        for metric in EVERY_SAMPLE:
            stored = self.stored[metric.name].T.astype(np.int64)
            if metric.kind is Kind.INCREMENT:
                stored = np.where(stored >= metric.lowest + RESERVED, stored, 0).cumsum(axis=1)
            rows.append(stored * metric.step.numerator / metric.step.denominator)
        return np.stack(rows)

    def series(self) -> list[dict[str, str]]:
        """The labels of each row of `values`, as an exporter behind a scraper gives them."""
        node = self.node
        of_node = {"job": "gpufleet", "instance": f"{node.hostname}:9400", "hostname": node.hostname}
        of_node |= {"site": node.site.name, "model": node.model.name}
        return [
            {"__name__": peer_name(metric.name), "gpu": str(index), "uuid": uuid} | of_node
            for metric in EVERY_SAMPLE
            for index, uuid in enumerate(self.uuids)
        ]

    @cached_property
    def _identity(self) -> tuple[wire.Roster, str]:
        identity = roster(self.node, int(self.times[0]))
        return identity, wire.digest(identity)

    def report(self, number: int, some: slice, interval: int) -> wire.Report:
        """A report with the samples of some times, as an agent makes it; the first has the node's roster."""
        times = self.times[some]
        begin, at = int(self.times[0]), int(times[-1])
        identity, named = self._identity
        block = wire.Samples(
            gpus=self.uuids,
            times=times.astype("<i8").tobytes(),
            durations=np.full(len(times), interval * 1000, "<i4").tobytes(),
            columns={name: stored[some].tobytes() for name, stored in self.stored.items()},
        )
        return wire.Report(
            version=wire.PROTOCOL,
            node=self.node.id,
            stream=str(uuid.uuid5(uuid.UUID(self.node.id), str(begin))),
            seq=number + 1,
            created=wire.Clock(wall=at, uptime=HOUR * 1_000_000 + at - begin, boot=self.node.id),
            interval=interval * 1000,
            driver=wire.Driver(state="ok", since=begin - interval * 1_000_000),
            backlog=wire.Backlog(),
            roster_digest=named,
            roster=identity if number == 0 else None,
            samples=[block],
            states=[],
            events=[],
        )


@dataclass(frozen=True)
class FleetLoad:
    """A fleet's nodes, the times of its samples (µs) and their interval (s)."""

    nodes: list[NodeLoad]
    times: NDArray[np.int64]
    interval: int

    @property
    def gpus(self) -> int:
        """How many GPUs."""
        return sum(load.node.count for load in self.nodes)

    @property
    def rounds(self) -> list[slice]:
        """Which samples each report has: those of 10 s, and one at least."""
        together = max(1, 10 // self.interval)
        return [slice(first, first + together) for first in range(0, len(self.times), together)]

    @property
    def end(self) -> float:
        """When the last sample was made, s since the epoch."""
        return float(self.times[-1]) / 1e6

    def counts(self) -> dict[str, int]:
        """How many values there are of each metric, absent ones not counted."""
        totals = sum((load.present().sum(axis=(1, 2)) for load in self.nodes), np.zeros(len(EVERY_SAMPLE), np.int64))
        return {metric.name: int(total) for metric, total in zip(EVERY_SAMPLE, totals, strict=True)}


def fleet_load(gpus: int, hours: float, interval: int, now: float) -> FleetLoad:
    """The load of a fleet over `hours` that end with a whole hour, two to three before `now` (s since the epoch)."""
    end = int(now // HOUR - 2) * HOUR * 1_000_000
    count = int(hours * HOUR) // interval
    times = end - np.arange(count - 1, -1, -1, dtype=np.int64) * interval * 1_000_000
    nodes = [NodeLoad(node, times, dict(_stored(node, times, interval))) for node in fleet(7, gpus, int(times[0]))]
    return FleetLoad(nodes, times, interval)


def peer_name(metric: str) -> str:
    """What a metric is called in the other systems."""
    return f"gpufleet_{metric}"


def _stored(node: SimNode, times: NDArray[np.int64], interval: int) -> Iterator[tuple[str, NDArray[np.signedinteger]]]:
    durations = np.full(len(times), interval * 1000, dtype=np.int64)
    values = physics.samples(node, times, durations)
    for metric in EVERY_SAMPLE:
        yield metric.name, values[metric.name].astype(_DTYPE[metric.width])
