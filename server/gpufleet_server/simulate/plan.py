"""The plan of a simulated fleet: which nodes there are, where they stand, what they run, what goes wrong."""

from __future__ import annotations

import enum
import itertools
import random
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

from gpufleet_server.simulate import models
from gpufleet_server.simulate.faults import SECOND, Fault, FaultKind
from gpufleet_server.simulate.models import GpuModel
from gpufleet_server.simulate.noise import Keys, key, keys

MINUTE = 60 * SECOND
JOB_SECONDS = 7200


class Use(enum.Enum):
    """What a node is for: shares of idle time, of memory that nobody frees, of held idle, training and inference."""

    TRAINING = (0.10, 0.0, 0.06, 0.84, 0.0)
    INFERENCE = (0.04, 0.01, 0.02, 0.0, 0.93)
    MIXED = (0.30, 0.02, 0.13, 0.30, 0.25)
    DESK = (0.65, 0.0, 0.20, 0.15, 0.0)


@dataclass(frozen=True, slots=True)
class Site:
    """A data centre; `east` is its distance from UTC in hours, for what follows the day."""

    name: str
    rooms: tuple[str, ...]
    east: int
    inlet: float


SITES = (
    Site("fra1", ("hall-1", "hall-2"), 1, 24.0),
    Site("iad2", ("dh-a", "dh-b", "dh-c"), -5, 26.0),
    Site("sin1", ("level-3",), 8, 28.0),
)
OFFICE = Site("lab", ("room-101",), 1, 23.0)

# A round of nodes; a fleet goes round until it has its GPUs.
_ROUND = (
    (models.H100, Use.TRAINING, 0), (models.A100_SXM, Use.INFERENCE, 4), (models.L40S, Use.INFERENCE, 0),
    (models.H200, Use.TRAINING, 0), (models.H100, Use.MIXED, 0), (models.A100_PCIE, Use.MIXED, 0),
    (models.B200, Use.TRAINING, 0), (models.H100, Use.TRAINING, 0), (models.GTX_980, Use.DESK, 0),
    (models.H200, Use.TRAINING, 0), (models.A100_SXM, Use.TRAINING, 0), (models.H100, Use.INFERENCE, 0),
)  # fmt: skip
_PER_RACK = 4


@dataclass(frozen=True)
class SimNode:
    """One simulated node. `skew` (µs) is how far its clock is ahead; `partitioned` GPUs, the first ones, run MIG."""

    seed: int
    number: int
    model: GpuModel
    use: Use
    count: int
    site: Site
    room: str
    rack: str
    hostname: str
    partitioned: int = 0
    skew: int = 0
    faults: tuple[Fault, ...] = ()

    @cached_property
    def id(self) -> str:
        """The node's stable id."""
        return str(uuid.UUID(int=(key(self.seed, self.number, "id") << 64) | key(self.seed, self.number, "id2")))

    @cached_property
    def keys(self) -> Keys:
        """A key a GPU."""
        return keys(self.seed, self.number, "gpu", count=self.count)

    def having(self, kind: FaultKind) -> tuple[Fault, ...]:
        """Its faults of this kind."""
        return tuple(fault for fault in self.faults if fault.kind is kind)


def single_node(seed: int, gpus: int, hostname: str) -> SimNode:
    """One healthy H100 node on which different things run."""
    return SimNode(seed, 0, models.H100, Use.MIXED, gpus, OFFICE, OFFICE.rooms[0], "r01", hostname)


def fleet(seed: int, gpus: int, origin: int, *, faults: bool = True) -> list[SimNode]:
    """Nodes with `gpus` GPUs altogether, over sites and models. Faults are timed from `origin` (µs) on."""
    nodes: list[SimNode] = []
    left = gpus
    for number, (model, use, partitioned) in enumerate(itertools.cycle(_ROUND)):
        if left <= 0:
            break
        count = min(left, model.per_node)
        nodes.append(_placed(seed, number, model, use, count, min(partitioned, count)))
        left -= count
    return _with_faults(nodes, origin, random.Random(seed)) if faults else nodes  # noqa: S311


def fleet_of(seed: int, agents: int, gpus_per_node: int, origin: int, *, faults: bool = True) -> list[SimNode]:
    """So many nodes of so many GPUs each, of the models that stand in such nodes."""
    fits = [kind for kind in _ROUND if 2 * kind[0].per_node >= gpus_per_node] or _ROUND
    nodes = [
        _placed(seed, number, model, use, gpus_per_node, min(partitioned, gpus_per_node))
        for number, (model, use, partitioned) in zip(range(agents), itertools.cycle(fits), strict=False)
    ]
    return _with_faults(nodes, origin, random.Random(seed)) if faults else nodes  # noqa: S311


def _placed(seed: int, number: int, model: GpuModel, use: Use, count: int, partitioned: int) -> SimNode:
    site = OFFICE if use is Use.DESK else SITES[number % len(SITES)]
    rack_number, place = divmod(number // len(SITES), _PER_RACK)
    room = site.rooms[rack_number % len(site.rooms)]
    rack = "desk" if site is OFFICE else f"r{rack_number + 1:02}"
    hostname = f"ws-{number:03}" if site is OFFICE else f"{site.name}-{rack}-n{place + 1}"
    return SimNode(seed, number, model, use, count, site, room, rack, hostname, partitioned)


def _lost(node: SimNode, origin: int, chance: random.Random) -> SimNode:
    gpu, at = chance.randrange(node.count), origin + chance.randrange(20, 90) * SECOND
    return _add(node, Fault(FaultKind.LOST, at, gpu=gpu), Fault(FaultKind.XID, at, gpu=gpu, code=79))


def _uncorrected(node: SimNode, origin: int, chance: random.Random) -> SimNode:
    gpu, at = chance.randrange(node.count), origin + chance.randrange(30, 120) * SECOND
    xids = (Fault(FaultKind.XID, at + after * SECOND, gpu=gpu, code=code) for after, code in ((0, 48), (1, 63)))
    return _add(node, Fault(FaultKind.UNCORRECTED, at, gpu=gpu), *xids)


def _hot(node: SimNode, origin: int, chance: random.Random) -> SimNode:
    return _add(node, Fault(FaultKind.HOT, origin + chance.randrange(10, 60) * SECOND))


def _crashing(node: SimNode, origin: int, chance: random.Random) -> SimNode:
    gpu, code, every = chance.randrange(node.count), chance.choice((13, 31, 43, 94)), chance.randrange(3, 20) * MINUTE
    start = origin + chance.randrange(15, 60) * SECOND
    return _add(node, Fault(FaultKind.XID, start, gpu=gpu, code=code, every=every))


def _silent(node: SimNode, origin: int, chance: random.Random) -> SimNode:
    start = origin + chance.randrange(60, 120) * SECOND
    return _add(node, Fault(FaultKind.SILENT, start, start + 10 * MINUTE))


def _driver(node: SimNode, origin: int, chance: random.Random) -> SimNode:
    start = origin + chance.randrange(45, 90) * SECOND
    return _add(node, Fault(FaultKind.DRIVER, start, start + 15 * MINUTE))


def _skewed(node: SimNode, _origin: int, chance: random.Random) -> SimNode:
    return replace(node, skew=chance.choice((-1, 1)) * chance.randrange(60, 420) * SECOND)


def _add(node: SimNode, *faults: Fault) -> SimNode:
    return replace(node, faults=node.faults + faults)


_Fault = Callable[[SimNode, int, random.Random], SimNode]


def _any(_node: SimNode) -> bool:
    return True


def _busy(node: SimNode) -> bool:
    return node.use is Use.TRAINING


def _remaps(node: SimNode) -> bool:
    return "remap_pending" not in node.model.absent


# A fault, one node in how many has it, and on which it shows; any fleet large enough has each at least once.
_FAULTS: tuple[tuple[_Fault, int, Callable[[SimNode], bool]], ...] = (
    (_lost, 80, _any), (_hot, 60, _busy), (_uncorrected, 50, _remaps), (_crashing, 20, _any), (_silent, 100, _any),
    (_driver, 120, _any), (_skewed, 100, _any),
)  # fmt: skip


def _with_faults(nodes: list[SimNode], origin: int, chance: random.Random) -> list[SimNode]:
    planned = list(nodes)
    order = list(range(1, len(nodes)))
    chance.shuffle(order)
    for fault, one_in, shows in _FAULTS:
        fit = [number for number in order if shows(nodes[number])]
        for number in fit[: max(1, len(nodes) // one_in)]:
            planned[number] = fault(planned[number], origin, chance)
            order.remove(number)
    return planned
