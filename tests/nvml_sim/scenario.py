"""Builds scenario files for the simulated driver (the format is described in README.md)."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

NO_INSTANCE = 0xFFFFFFFF
EVENT_XID = 0x8
PCIE_THROUGHPUT = "nvmlDeviceGetPcieThroughput"

# The library looks at its file every 5 ms: after this pause every call sees the new one.
SETTLE_S = 0.008


@dataclass(frozen=True)
class Spec:
    """A value over time as the scenario file writes it."""

    text: str


Value = int | float | str | Spec


def linear(start: float, per_second: float) -> Spec:
    """start + per_second * t."""
    return Spec(f"linear {start!r} {per_second!r}")


def sine(mean: float, amplitude: float, period: float, phase: float = 0.0) -> Spec:
    """A wave around a mean."""
    return Spec(f"sine {mean!r} {amplitude!r} {period!r} {phase!r}")


def pulse(low: float, high: float, period: float, duty: float) -> Spec:
    """High for the first `duty` share of every period: the shape of a training step."""
    return Spec(f"pulse {low!r} {high!r} {period!r} {duty!r}")


def steps(*steps: tuple[float, float]) -> Spec:
    """From each time on its value; before the first time the first value."""
    return Spec("steps " + " ".join(f"{at!r}:{value!r}" for at, value in steps))


def counter(start: int, rate: float, *, wrap: int = 0, resets: Iterable[float] = (), keep: bool = False) -> Spec:
    """Grows by rate a second, wraps at 2**wrap, starts from 0 at each reset and, unless keep, at a driver reload."""
    parts = [f"counter {start} {rate!r}", *(f"reset={at!r}" for at in resets)]
    return Spec(" ".join(parts + [f"wrap={wrap}"] * bool(wrap) + ["keep"] * keep))


def error(code: str | int) -> Spec:
    """An NVML return code instead of a value, by its name (not_supported, gpu_is_lost, ...) or number."""
    return Spec(f"error {code}")


def typed(kind: str, value: Value) -> Spec:
    """A field value with another valueType than the usual one: double, uint, ull or signed."""
    return Spec(f"as={kind} {render(value)}")


def render(value: Value) -> str:
    """A value as the scenario file writes it."""
    if isinstance(value, Spec):
        return value.text
    if isinstance(value, str):
        return f"text {value}"
    return f"real {value!r}" if isinstance(value, float) else f"int {int(value)}"


def _time(at: float | None) -> str:
    return "-" if at is None else repr(float(at))


@dataclass
class Device:
    """A GPU, a MIG instance or (as Scenario.system) the whole: its values, and what goes wrong with it."""

    values: dict[str, Value] = field(default_factory=dict)
    default_error: str = "not_supported"
    lines: list[str] = field(default_factory=list)
    instances: list[Device] = field(default_factory=list)
    distinct: set[str] = field(default_factory=set)
    """Names of values that no other field has; the rest are states, flags and texts shared by a model."""

    def set(self, name: str, value: Value) -> Self:
        """Give a field a value from the beginning."""
        self.values[name] = value
        return self

    def update(self, values: Mapping[str, Value]) -> Self:
        """Give several fields a value from the beginning."""
        self.values.update(values)
        return self

    def at(self, when: float, name: str, value: Value) -> Self:
        """Give a field another value from a time on."""
        return self._add(f"from {when!r} {name} {render(value)}")

    def fail(self, target: str, code: str | int, since: float | None = None, until: float | None = None) -> Self:
        """A function (nvml..., may end in *) or a field gives this code for a while."""
        return self._add(f"fault {target} error {code} {_time(since)} {_time(until)}")

    def hang(self, function: str = "*", since: float | None = None, until: float | None = None) -> Self:
        """Calls do not return until `until`, or until a rewritten scenario says otherwise."""
        return self._add(f"fault {function} hang {_time(since)} {_time(until)}")

    def latency(self, function: str, ms: float, since: float | None = None, until: float | None = None) -> Self:
        """Calls take this long."""
        return self._add(f"fault {function} latency {ms!r} {_time(since)} {_time(until)}")

    def segv(self, function: str, since: float | None = None, until: float | None = None) -> Self:
        """Calls kill the process."""
        return self._add(f"fault {function} segv {_time(since)} {_time(until)}")

    def lost(self, since: float, until: float | None = None, *, hidden: bool = False) -> Self:
        """Off the bus for a while: every call gives GPU_IS_LOST; hidden: not counted either."""
        return self._add(f"lost {_time(since)} {_time(until)} {'hidden' if hidden else ''}")

    def xid(self, code: int, at: float, gpu_instance: int = NO_INSTANCE, compute_instance: int = NO_INSTANCE) -> Self:
        """An XID at a time."""
        return self.event(EVENT_XID, code, at, gpu_instance, compute_instance)

    def event(
        self, kind: int, data: int, at: float, gpu_instance: int = NO_INSTANCE, compute_instance: int = NO_INSTANCE
    ) -> Self:
        """Any NVML event at a time."""
        return self._add(f"event {at!r} {kind} {data} {gpu_instance} {compute_instance}")

    def retire(self, address: int, when: int, *, double_bit: bool) -> Self:
        """A retired memory page; `when` is its POSIX time."""
        return self._add(f"retired {'double_bit' if double_bit else 'single_bit'} {address} {when}")

    def process(self, pid: int, name: str, kind: str = "compute", **parts: float) -> Self:
        """A process: kind compute, graphics or mps; parts used, gi, ci, sm, mem, enc, dec, jpg, ofa, from_, to."""
        words = " ".join(f"{key.rstrip('_')}={value}" for key, value in parts.items())
        return self._add(f"process pid={pid} kind={kind} {words} name={name}")

    def _add(self, line: str) -> Self:
        self.lines.append(line)
        return self

    def render(self) -> Iterator[str]:
        """The lines after the device's heading."""
        yield f"default {self.default_error}"
        for name, value in self.values.items():
            yield f"set {name} {render(value)}"
        yield from self.lines


Gpu = Device


def _system() -> Device:
    facts: dict[str, Value] = {
        "driver_version": "580.95.05", "nvml_version": "13.580.95.05", "cuda_driver_version": 13000,
    }
    return Device(facts).latency(PCIE_THROUGHPUT, 20)


@dataclass
class Scenario:
    """What a driver with these GPUs does; times are seconds since `epoch` (POSIX time)."""

    gpus: list[Device] = field(default_factory=list)
    epoch: float = field(default_factory=time.time)
    system: Device = field(default_factory=_system)
    frozen: float | None = None
    lines: list[str] = field(default_factory=list)

    def now(self) -> float:
        """The scenario's time."""
        return time.time() - self.epoch if self.frozen is None else self.frozen

    def freeze(self, at: float | None) -> Self:
        """Stop the clock at a time, or with None let it run."""
        self.frozen = at
        return self

    def reload(self, since: float, until: float) -> Self:
        """The driver is unloaded for a while: what was initialised is stale after it, counters start from 0."""
        self.lines.append(f"reload {_time(since)} {_time(until)}")
        return self

    def init_error(self, code: str | int, since: float | None = None, until: float | None = None) -> Self:
        """nvmlInit gives this code: driver_not_loaded, no_permission, lib_rm_version_mismatch, ..."""
        self.lines.append(f"init {code} {_time(since)} {_time(until)}")
        return self

    def render(self) -> Iterator[str]:
        """All lines of the file."""
        yield f"epoch {self.epoch!r}"
        if self.frozen is not None:
            yield f"freeze {self.frozen!r}"
        yield from self.lines
        yield from self.system.render()
        for index, gpu in enumerate(self.gpus):
            yield f"gpu {index}"
            yield from gpu.render()
            for number, instance in enumerate(gpu.instances):
                yield f"mig {index} {number}"
                yield from instance.render()

    def write(self, path: Path) -> Path:
        """Write the file at once (rename); returns when running processes see it."""
        live = path.exists()
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "w") as file:
            file.writelines(f"{line}\n" for line in self.render())
        Path(name).replace(path)
        if live:
            time.sleep(SETTLE_S)
        return path
