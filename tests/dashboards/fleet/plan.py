"""The fleet that boards are shown: a few nodes of each kind, and what goes wrong on them, timed from the end."""

import dataclasses
from dataclasses import dataclass
from functools import cached_property

from gpufleet_server.simulate import models
from gpufleet_server.simulate.faults import Fault, FaultKind
from gpufleet_server.simulate.models import GpuModel
from gpufleet_server.simulate.plan import OFFICE, SITES, SimNode, Site, Use

SECOND = 1_000_000
MINUTE, HOUR, DAY = 60 * SECOND, 3600 * SECOND, 86_400 * SECOND
# How far the end is ahead of the clock of the database: nodes report until then, so none falls silent meanwhile.
AHEAD = 40 * MINUTE
_PER_NODE, _SEED = 4, 11
# A name that has to be quoted: what a site is called is up to whoever sets up its agents.
_ODD = Site('o\'hare "x" \\ --', ("hall",), -6, 22.0)
_FRANKFURT, _ASHBURN, _SINGAPORE = SITES


@dataclass(frozen=True, slots=True)
class Phase:
    """A time, (begin, end] µs, in which agents sample every `interval` ms and report every `every` µs.

    `nodes`: the first so many of them. `hours`: of so many hours they are there for one. `used`: of so many days they
    tell on one who used the GPUs.
    """

    begin: int
    end: int
    interval: int
    every: int
    nodes: int
    hours: int = 1
    used: int = 1


@dataclass(frozen=True)
class Plan:
    """What happens until `end` (µs, a whole minute)."""

    end: int

    @property
    def phases(self) -> list[Phase]:
        """A month of a few nodes now and then, a day of all, and an hour of all at ten seconds."""
        day, last = self.end // HOUR * HOUR - 26 * HOUR, self.end // HOUR * HOUR - HOUR
        month = self.end // DAY * DAY - 31 * DAY
        return [
            Phase(month, day, 300_000, HOUR, nodes=3, hours=24, used=10),
            Phase(day, last, 120_000, HOUR, nodes=len(self.nodes)),
            Phase(last, self.end, 10_000, 5 * MINUTE, nodes=len(self.nodes)),
        ]

    @cached_property
    def nodes(self) -> list[SimNode]:
        """The nodes as they are first."""
        end = self.end
        made = (
            _node(models.H100, Use.TRAINING, _FRANKFURT, self._crashing()),
            _node(models.A100_SXM, Use.INFERENCE, _ASHBURN, partitioned=2),
            _node(models.H200, Use.MIXED, _SINGAPORE, self._uncorrected()),
            _node(models.H100, Use.TRAINING, _FRANKFURT, Fault(FaultKind.HOT, end - 3 * HOUR)),
            _node(models.L40S, Use.INFERENCE, _ASHBURN),
            _node(models.H100, Use.MIXED, _FRANKFURT, *_lost(end - 5 * HOUR - 70 * SECOND)),
            _node(models.B200, Use.TRAINING, _SINGAPORE, Fault(FaultKind.SILENT, end - 4 * HOUR)),
            _node(models.A100_PCIE, Use.MIXED, _ASHBURN, Fault(FaultKind.SILENT, end - 12 * HOUR, end - 11 * HOUR)),
            _node(models.GTX_980, Use.DESK, OFFICE),
            _node(models.H200, Use.MIXED, _ODD, Fault(FaultKind.DRIVER, end - 50 * MINUTE, end - 35 * MINUTE)),
            _node(models.L40S, Use.MIXED, _ODD),
            _node(models.H100, Use.INFERENCE, _SINGAPORE, skew=300 * SECOND),
        )
        return [_numbered(node, number) for number, node in enumerate(made)]

    @property
    def later(self) -> list[tuple[int, SimNode]]:
        """What nodes become, and from when on: one loses a GPU for good, one gets another VBIOS."""
        fewer, newer = self.nodes[10], self.nodes[4]
        flashed = dataclasses.replace(newer.model, vbios="95.02.99.00.0F")
        return [
            (self.end // HOUR * HOUR - 6 * HOUR, dataclasses.replace(fewer, count=fewer.count - 1)),
            (self.end // HOUR * HOUR - 8 * HOUR, dataclasses.replace(newer, model=flashed)),
        ]

    def _crashing(self) -> Fault:
        month = self.end // DAY * DAY - 31 * DAY
        return Fault(FaultKind.XID, month + 37 * SECOND, gpu=2, code=31, every=37 * MINUTE)

    def _uncorrected(self) -> Fault:
        return Fault(FaultKind.UNCORRECTED, self.end - 9 * HOUR, gpu=0)


def _lost(at: int) -> tuple[Fault, ...]:
    return Fault(FaultKind.LOST, at, gpu=1), Fault(FaultKind.XID, at, gpu=1, code=79)


def _node(model: GpuModel, use: Use, site: Site, *faults: Fault, partitioned: int = 0, skew: int = 0) -> SimNode:
    return SimNode(_SEED, 0, model, use, _PER_NODE, site, site.rooms[0], "", "", partitioned, skew, faults)


def _numbered(node: SimNode, number: int) -> SimNode:
    rack = f"r{number % 3 + 1:02}"
    return dataclasses.replace(node, number=number, rack=rack, hostname=f"{node.model.architecture.lower()}-n{number}")
