"""Nodes that do what a scenario says: their reports, as agents would send them."""

import dataclasses
import itertools
import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from gpufleet_agent import wire
from gpufleet_agent.catalogue import ACTIVITY, BY_NAME, EVERY_SAMPLE, ON_CHANGE, Kind, Reason, Unit

from tests.server.alerts.scenario import NodeOf, Play, Value

SECOND = 1_000_000
_GIB = 1 << 30
_REASONS = {reason.word: reason for reason in Reason}

_COMMON: dict[str, Value] = {
    "performance_state": 0, "memory_clock": 2619, "fb_reserved": 0.6 * _GIB, "fan_speed": "unsupported",
}  # fmt: skip
IDLE = _COMMON | {
    "fb_used": 0.0, "fb_free": 79.4 * _GIB, "power": 70, "energy": 70, "gpu_temperature": 32, "memory_temperature": 40,
    "temperature_margin": 55, "sm_clock": 345, "graphics_clock": 345, "video_clock": 765, "clock_event_reasons": 1,
}  # fmt: skip
BUSY = _COMMON | {
    "gpu_utilization": 98, "memory_copy_utilization": 50, "sm_active": 85, "sm_occupancy": 40, "tensor_active": 45,
    "fp16_active": 5, "fp32_active": 5, "dram_active": 50, "fb_used": 60 * _GIB, "fb_free": 19 * _GIB, "power": 650,
    "energy": 650, "gpu_temperature": 60, "memory_temperature": 75, "temperature_margin": 27, "sm_clock": 1755,
    "graphics_clock": 1755, "video_clock": 1545, "compute_processes": 1, "pcie_tx_bytes": 1e6, "pcie_rx_bytes": 1e6,
}  # fmt: skip
_USES = {"idle": IDLE, "busy": BUSY}
_STATES: dict[str, Value] = {
    "power_limit": 700, "pcie_link_generation": 5, "pcie_link_width": 16, "nvlink_links_up": 18, "fabric_state": 3,
}  # fmt: skip
_IDENTITY = {
    "architecture": "Hopper", "vbios_version": "96.00.74.00.01", "power_limit_default": 700.0,
    "power_limit_max": 700.0, "power_limit_min": 200.0, "sm_clock_max": 1980, "graphics_clock_max": 1980,
    "memory_clock_max": 2619, "slowdown_temperature": 87, "shutdown_temperature": 92, "gpu_temperature_max": 87,
    "memory_temperature_max": 95, "pcie_generation_max": 5, "pcie_width_max": 16, "nvlink_count": 18,
    "memory_total": 80 * _GIB, "ecc_mode": "enabled", "mig_mode": "disabled", "persistence_mode": "enabled",
}  # fmt: skip


@dataclasses.dataclass
class PlayedGpu:
    """A GPU: its metrics of every sample and sent on change, in their units."""

    uuid: str
    index: int
    identity: dict[str, Any]
    samples: dict[str, Value] = dataclasses.field(default_factory=lambda: dict(IDLE))
    states: dict[str, Value] = dataclasses.field(default_factory=lambda: dict(_STATES))
    lost: bool = False
    there: bool = True
    holder: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def is_active(self) -> bool:
        """Whether something runs on it."""
        values = (self.samples.get(name, 0) for name in ACTIVITY)
        return any(not isinstance(value, str) and value >= 1 for value in values)


@dataclasses.dataclass
class PlayedNode:
    """A node: what its agent would tell. `told` are events that wait for the next report."""

    name: str
    of: NodeOf
    number: int
    gpus: list[PlayedGpu]
    facts: dict[str, Any]
    began: int
    driver: str = "ok"
    driver_since: int = 0
    detail: str = ""
    sends: bool = True
    backlog: int = 0
    clock: int = 0
    told: list[wire.Event] = dataclasses.field(default_factory=list)
    waiting: list[wire.Report] = dataclasses.field(default_factory=list)
    seq: Iterator[int] = dataclasses.field(default_factory=lambda: itertools.count(1))
    roster: wire.Roster | None = None
    known: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)

    @property
    def uuid(self) -> str:
        """Its id."""
        return str(uuid.UUID(int=self.number + 1))

    def is_meant(self, play: Play) -> bool:
        """Whether a play is about it."""
        return play.node in (None, self.name, self.of.name)

    def take(self, play: Play, at: int) -> None:
        """Be from now on as a play says."""
        for name in ("sends", "backlog"):
            if (value := getattr(play, name)) is not None:
                setattr(self, name, value)
        if play.driver is not None and play.driver != self.driver:
            self.driver, self.driver_since, self.detail = play.driver, at, play.detail
        if play.clock is not None:
            self.clock = int(play.clock * SECOND)
        self.facts |= play.facts
        meant = [gpu for gpu in self.gpus if play.gpu in (None, gpu.index)]
        for gpu in meant:
            _change(gpu, play)
        if play.event is not None:
            named = meant[0].uuid if play.gpu is not None else None
            self.told.append(wire.Event(at=at + self.clock, gpu=named, **_fields(play.event)))

    def clocks(self, at: int) -> wire.Clock:
        """Its clocks at a time."""
        return wire.Clock(wall=at + self.clock, uptime=at - self.began + 3600 * SECOND, boot="boot")

    def report(self, at: int, step: int) -> wire.Report:
        """What it tells at a time of the `step` s before."""
        roster, seen = self._roster(), [gpu for gpu in self.gpus if gpu.there and not gpu.lost]
        samples = [_samples(seen, at + self.clock, step)] if seen and self.driver == "ok" else []
        new = roster if roster != self.roster else None
        events, self.told, self.roster = self.told, [], roster
        return wire.Report(
            version=wire.PROTOCOL,
            node=self.uuid,
            stream=self.uuid,
            seq=next(self.seq),
            created=self.clocks(at),
            interval=step * 1000,
            driver=wire.Driver(state=self.driver, since=(self.driver_since or at) + self.clock, detail=self.detail),  # type: ignore[arg-type]
            backlog=wire.Backlog(reports=self.backlog, bytes=self.backlog * 1000),
            roster=new,
            roster_digest=wire.digest(roster),
            samples=samples,
            states=list(self._states(seen, at + self.clock)) if self.driver == "ok" else [],
            events=events,
            holders=[wire.Holder(**gpu.holder) for gpu in seen if gpu.holder],
            usage=_usage([gpu for gpu in seen if gpu.holder], at + self.clock, step),
        )

    def _roster(self) -> wire.Roster:
        place = {"site": self.of.site, "rack": self.of.rack}
        host = wire.Host(
            **({"hostname": self.name, "agent_version": "0.1.0", "driver_version": "570.86.15"} | place | self.facts)
        )
        return wire.Roster(host=host, gpus=[_gpu(gpu) for gpu in self.gpus if gpu.there])

    def _states(self, seen: Sequence[PlayedGpu], at: int) -> Iterator[wire.State]:
        for gpu in seen:
            for metric in ON_CHANGE:
                stored = _stored(metric.name, gpu.states.get(metric.name, 0))
                if self.known.get((gpu.uuid, metric.name)) != stored:
                    self.known[gpu.uuid, metric.name] = stored
                    yield wire.State(at=at, gpu=gpu.uuid, metric=metric.name, stored=stored)


def nodes(given: Sequence[NodeOf], began: int) -> list[PlayedNode]:
    """The nodes that these stand for: `n1`, or `n1-0`, `n1-1` … where there are several."""
    made: list[PlayedNode] = []
    for of in given:
        for copy in range(of.count):
            name = of.name if of.count == 1 else f"{of.name}-{copy}"
            gpus = [
                PlayedGpu(f"GPU-{name}-{index}", index, {"model": of.model} | _IDENTITY | of.identity)
                for index in range(of.gpus)
            ]
            made.append(PlayedNode(name, of, len(made), gpus, dict(of.facts), began))
    return made


def _usage(held: Sequence[PlayedGpu], at: int, step: int) -> list[wire.Usage]:
    """The whole of the time is the one holder's that each of these GPUs has."""
    return [
        wire.Usage(
            gpu=gpu.uuid,
            partition=None,
            holder=place,
            begin=at - step * SECOND,
            end=at,
            observed=step * 1000,
            active=step * 1000 if gpu.is_active else 0,
            held=0 if gpu.is_active else step * 1000,
            memory=None,
            memory_most=None,
            activity=None,
            processes=1,
        )
        for place, gpu in enumerate(held)
    ]


def _change(gpu: PlayedGpu, play: Play) -> None:
    if play.use is not None:
        gpu.samples = dict(_USES[play.use])
    for name, value in play.metrics.items():
        sampled = name in {metric.name for metric in EVERY_SAMPLE}
        (gpu.samples if sampled else gpu.states)[BY_NAME[name].name] = value
    gpu.identity |= play.identity
    gpu.uuid = play.uuid or gpu.uuid
    gpu.lost = gpu.lost if play.lost is None else play.lost
    gpu.there = gpu.there if play.there is None else play.there
    gpu.holder = gpu.holder if play.holder is None else play.holder


def _gpu(gpu: PlayedGpu) -> wire.Gpu:
    own: dict[str, Any] = {
        "uuid": gpu.uuid,
        "vendor": "nvidia",
        "index": gpu.index,
        "state": "lost" if gpu.lost else "ok",
    }
    usual: dict[str, Any] = {"serial": f"S-{gpu.uuid}", "pci_address": f"00000000:{gpu.index + 1:02x}:00.0"}
    return wire.Gpu(**(own | usual | gpu.identity))


def _samples(seen: Sequence[PlayedGpu], at: int, step: int) -> wire.Samples:
    columns = {
        metric.name: wire.pack([_of_interval(metric.name, gpu, step) for gpu in seen], metric.width)
        for metric in EVERY_SAMPLE
    }
    return wire.Samples(
        gpus=[gpu.uuid for gpu in seen],
        times=wire.pack([at], 8),
        durations=wire.pack([step * 1000], 4),
        columns=columns,
    )


def _of_interval(name: str, gpu: PlayedGpu, step: int) -> int:
    """Of increments a scenario gives the value a second."""
    value = gpu.samples.get(name, 0)
    if BY_NAME[name].kind is Kind.INCREMENT and not isinstance(value, str):
        value *= step
    return _stored(name, value)


def _stored(name: str, value: Value) -> int:
    metric = BY_NAME[name]
    if isinstance(value, str):
        return metric.absent(_REASONS[value])
    return metric.store(value if metric.unit is not Unit.FLAG else int(value))


def _fields(event: Any) -> Mapping[str, Any]:
    return {name: getattr(event, name) for name in ("kind", "code", "message", "source", "detail", "partition")}
