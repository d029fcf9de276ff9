"""What the agents of a fleet sent: samples, states, events and usage, as they were put on the wire."""

from dataclasses import dataclass, field

import numpy as np
from gpufleet_agent import wire
from gpufleet_agent.catalogue import EVERY_SAMPLE
from gpufleet_server.simulate.identity import lost_indices
from gpufleet_server.simulate.plan import SimNode
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Samples:
    """All samples of one node, N of them in the order of time: each of one GPU.

    `at` (µs, corrected) is when each ended, `gpu` its place in the node, `ms` its length, `stored` by metric.
    """

    at: Integers
    gpu: Integers
    ms: Integers
    stored: dict[str, Integers]


@dataclass(frozen=True, slots=True)
class Heard:
    """A report: when it was made (µs), the interval in force (ms), the driver's state, GPUs there and GPUs lost."""

    at: int
    interval: int
    driver: str
    gpus: int
    lost: frozenset[int | None]


@dataclass
class SentNode:
    """One node: as it is at the end, and all that it told. Times are corrected for what its clock is wrong by."""

    node: SimNode
    uuids: list[str]
    reports: list[Heard] = field(default_factory=list)
    rosters: list[tuple[int, wire.Roster]] = field(default_factory=list)
    states: list[wire.State] = field(default_factory=list)
    events: list[wire.Event] = field(default_factory=list)
    usage: list[tuple[wire.Holder, wire.Usage]] = field(default_factory=list)
    driver: wire.Driver | None = None
    _blocks: list[tuple[Integers, Integers, dict[str, Integers]]] = field(default_factory=list)

    @property
    def last_seen(self) -> int:
        """When its last report was made, µs."""
        return self.reports[-1].at

    @property
    def roster(self) -> wire.Roster:
        """As it told it last."""
        return self.rosters[-1][1]

    def heard(self, at: int) -> Heard | None:
        """Its last report until then; None where there was none."""
        return next((each for each in reversed(self.reports) if each.at <= at), None)

    def take(self, report: wire.Report) -> None:
        """Remember a report that was committed."""
        skew = self.node.skew
        at, self.driver = report.created.wall - skew, report.driver
        lost = lost_indices(self.node, at)
        self.reports.append(Heard(at, report.interval, report.driver.state, self.node.count, lost))
        if report.roster is not None:
            self.rosters.append((at, report.roster))
        self.states += [wire.State(each.at - skew, each.gpu, each.metric, each.stored) for each in report.states]
        self.events += [_moved(event, skew) for event in report.events]
        self.usage += [(report.holders[each.holder], _earlier(each, skew)) for each in report.usage]
        self._blocks += [self._block(block, skew) for block in report.samples]

    def samples(self) -> Samples:
        """Its samples."""
        at = np.concatenate([times.repeat(len(ms) // len(times)) for times, ms, _ in self._blocks])
        gpu = np.concatenate([np.tile(np.arange(len(ms) // len(times)), len(times)) for times, ms, _ in self._blocks])
        ms = np.concatenate([ms for _, ms, _ in self._blocks])
        stored = {name: np.concatenate([each[name] for *_, each in self._blocks]) for name in self._blocks[0][2]}
        return Samples(at, gpu, ms, stored)

    def _block(self, block: wire.Samples, skew: int) -> tuple[Integers, Integers, dict[str, Integers]]:
        assert block.gpus == self.uuids[: len(block.gpus)]
        columns = {
            metric.name: np.frombuffer(block.columns[metric.name], f"<i{metric.width}").astype(np.int64)
            for metric in EVERY_SAMPLE
        }
        ms = np.frombuffer(block.durations, "<i4").astype(np.int64).repeat(len(block.gpus))
        return np.frombuffer(block.times, "<i8") - skew, ms, columns


def _moved(event: wire.Event, skew: int) -> wire.Event:
    return wire.Event(**{name: getattr(event, name) for name in event.__struct_fields__} | {"at": event.at - skew})


def _earlier(piece: wire.Usage, skew: int) -> wire.Usage:
    known = {name: getattr(piece, name) for name in piece.__struct_fields__}
    return wire.Usage(**known | {"begin": piece.begin - skew, "end": piece.end - skew})


@dataclass(eq=False)
class Sent:
    """All nodes, by number, and when the fleet's states were counted and its rules evaluated (µs)."""

    end: int
    nodes: list[SentNode]
    counted: list[int] = field(default_factory=list)
    rounds: list[int] = field(default_factory=list)
