"""Nodes of the simulated month: what physics says of them with what has happened put in its place, as reports."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, ON_CHANGE, Reason, Unit
from gpufleet_server.domain.clock import SECOND
from gpufleet_server.simulate.faults import XID_TEXT
from gpufleet_server.simulate.identity import gpu_uuid, roster
from gpufleet_server.simulate.noise import Integers
from gpufleet_server.simulate.plan import SimNode

from tests.bench.month_harmless import AGENT, DRIVER
from tests.bench.month_story import Turn, Value

# How agents are set by default, s.
INTERVAL_S = 10
_SAMPLED = {metric.name for metric in EVERY_SAMPLE}
_REASONS = {reason.word: reason for reason in Reason}
_DTYPE = {2: "<i2", 4: "<i4", 8: "<i8"}
_HOST = {
    "agent_version": AGENT,
    "driver_version": DRIVER,
    "kernel_module_version": DRIVER,
}
Columns = Mapping[str, Any]


def stored(name: str, value: Value) -> int:
    """The integer that stands for a value, or for the reason why there is none."""
    metric = BY_NAME[name]
    if isinstance(value, str):
        return metric.absent(_REASONS[value])
    return metric.store(int(value) if metric.unit in (Unit.FLAG, Unit.FLAGS, Unit.LEVEL, Unit.COUNT) else value)


class MonthNode:
    """One node: how its hardware stands, and what its agent has told of that."""

    def __init__(self, sim: SimNode, at: int) -> None:
        self.sim, self.sends, self.backlog, self.clock = sim, True, 0, 0
        self.names = [gpu_uuid(sim, index) for index in range(sim.count)]
        self.told_samples: dict[tuple[int, str], Value] = {}
        self.lost, self.missing = set[int](), set[int]()
        self.holders: dict[int, wire.Holder] = {}
        self.driver = wire.Driver(state="ok", since=at)
        self.replaced = 0
        self._facts: dict[str, Any] = {}
        self._identity: dict[int, dict[str, Any]] = {}
        self._events: list[wire.Event] = []
        self._known: dict[tuple[str, str], int] = {}
        self._roster: wire.Roster | None = None
        self._stream, self._seq = str(uuid.uuid4()), 0
        self._boots, self._booted, self._used = 0, at - 86_400 * SECOND, at
        base = roster(sim, at)
        running = {"fabric_manager_version": DRIVER} if base.host.fabric_manager else {}
        self._host = msgspec.structs.replace(base.host, **_HOST, **running)
        self._gpus = base.gpus

    @property
    def id(self) -> str:
        """Its id."""
        return self.sim.id

    @property
    def is_plain(self) -> bool:
        """Whether all of it is as physics says."""
        changed = self.told_samples or self.lost or self.missing or self.holders or self.replaced or self.backlog
        return self.sends and self.driver.state == "ok" and not changed and not self.clock

    def take(self, turn: Turn, gpu: int, at: int) -> None:
        """Be from now on as a turn says; `gpu` is the index of the one that it strikes."""
        struck = range(self.sim.count) if turn.all_gpus else (gpu,)
        if turn.well:
            self.told_samples, self.holders = {}, {}
        for index in struck:
            self._strike(turn, index, at)
        if turn.booted:
            self._boots, self._booted = self._boots + 1, at
            self.driver = wire.Driver(state="ok", since=at)
            self._events.append(wire.Event(at=at + self.clock, kind="node_booted", message="the machine was booted"))
        if turn.driver is not None:
            self.driver = wire.Driver(state=turn.driver, since=at, detail=turn.detail)  # type: ignore[arg-type]
        if turn.sends is not None:
            self.sends = turn.sends
        self.clock = self.clock if turn.clock is None else int(turn.clock * SECOND)
        self.backlog = self.backlog if turn.backlog is None else turn.backlog
        known = {name: value for name, value in turn.facts.items() if getattr(self._host, name) is not None}
        self._facts |= known
        self._happen(turn, struck, at + self.clock)

    def clocks(self, at: int) -> wire.Clock:
        """Its clocks at a time."""
        return wire.Clock(wall=at + self.clock, uptime=at - self._booted + 60 * SECOND, boot=f"boot-{self._boots}")

    def report(self, at: int, samples: Columns, states: Integers) -> wire.Report:
        """What its agent tells now; physics says `samples` (metric → its GPUs) and `states` (metrics × its GPUs)."""
        now, ok = self._current(), self.driver.state == "ok"
        here = [index for index in range(self.sim.count) if index not in self.missing | self.lost]
        new = now if now != self._roster else None
        events, self._events, self._roster, self._seq = self._events, [], now, self._seq + 1
        return wire.Report(
            version=wire.PROTOCOL,
            node=self.id,
            stream=self._stream,
            seq=self._seq,
            created=self.clocks(at),
            interval=INTERVAL_S * 1000,
            driver=msgspec.structs.replace(self.driver, since=self.driver.since + self.clock),
            backlog=wire.Backlog(reports=self.backlog, bytes=self.backlog * 20_000),
            roster=new,
            roster_digest=wire.digest(now),
            samples=[self._samples(here, at, samples)] if here and ok else [],
            states=list(self._states(here, at, states)) if ok else [],
            events=events,
            holders=list(self.holders.values()),
            usage=list(self._usage(at)),
        )

    def _strike(self, turn: Turn, index: int, at: int) -> None:
        self.told_samples |= {(index, name): value for name, value in turn.metrics.items()}
        if turn.identity:
            self._identity[index] = {**self._identity.get(index, {}), **turn.identity}
        for flag, which in ((turn.lost, self.lost), (None if turn.there is None else not turn.there, self.missing)):
            if flag is not None:
                (which.add if flag else which.discard)(index)
        if turn.holder is not None:
            self.holders[index], self._used = turn.holder, at
        if turn.replaced:
            self.replaced += 1
            self.names[index] = f"GPU-{uuid.uuid5(uuid.UUID(self.id), f'{index} {self.replaced}')}"

    def _happen(self, turn: Turn, struck: Sequence[int], at: int) -> None:
        if turn.xid is not None:
            message = XID_TEXT.get(turn.xid, "")
            for index in struck:
                one = wire.Event(
                    at=at, kind="xid", gpu=self.names[index], code=turn.xid, source="nvml", message=message
                )
                self._events.append(one)
        if turn.sxid is not None:
            code, fatal = turn.sxid
            detail: dict[str, Any] = {"fatal": fatal, "switch": "NVSwitch 0"}
            self._events.append(wire.Event(at=at, kind="sxid", code=code, source="kernel log", detail=detail))
        if turn.event is not None:
            kind, message = turn.event
            gpu = self.names[struck[0]] if kind.startswith("gpu_") else None
            self._events.append(wire.Event(at=at, kind=kind, gpu=gpu, message=message))

    def _current(self) -> wire.Roster:
        gpus = [
            msgspec.structs.replace(
                gpu,
                uuid=self.names[index],
                serial=f"{gpu.serial}{self.names[index][-4:]}" if self.names[index] != gpu.uuid else gpu.serial,
                state="lost" if index in self.lost else "ok",
                **self._identity.get(index, {}),
            )
            for index, gpu in enumerate(self._gpus)
            if index not in self.missing
        ]
        return wire.Roster(host=msgspec.structs.replace(self._host, **self._facts), gpus=gpus)

    def _samples(self, here: Sequence[int], at: int, samples: Columns) -> wire.Samples:
        columns = {}
        for metric in EVERY_SAMPLE:
            values = np.asarray(samples[metric.name]).astype(_DTYPE[metric.width])
            for index in range(self.sim.count) if self.told_samples else ():
                if (index, metric.name) in self.told_samples:
                    values[index] = stored(metric.name, self.told_samples[index, metric.name])
            columns[metric.name] = values[list(here)].tobytes()
        return wire.Samples(
            gpus=[self.names[index] for index in here],
            times=wire.pack([at + self.clock], 8),
            durations=wire.pack([INTERVAL_S * 1000], 4),
            columns=columns,
        )

    def _states(self, here: Sequence[int], at: int, states: Integers) -> Iterator[wire.State]:
        for metric, row in zip(ON_CHANGE, states.tolist(), strict=True):
            for index in here:
                own = self.told_samples.get((index, metric.name))
                value = row[index] if own is None else stored(metric.name, own)
                key = self.names[index], metric.name
                if self._known.get(key) != value:
                    self._known[key] = value
                    yield wire.State(at=at + self.clock, gpu=key[0], metric=metric.name, stored=value)

    def _usage(self, at: int) -> Iterator[wire.Usage]:
        """Whoever holds GPUs here does nothing on them."""
        begin, self._used = self._used, at
        length = (at - begin) // 1000
        for place, index in enumerate(self.holders if length else ()):
            yield wire.Usage(
                gpu=self.names[index],
                partition=None,
                holder=place,
                begin=begin + self.clock,
                end=at + self.clock,
                observed=length,
                active=0,
                held=length,
                memory=None,
                memory_most=None,
                activity=None,
                processes=0 if self.holders[index].kind == "nobody" else 1,
            )
