"""A simulated device: its values over time, and what goes wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Self

NO_INSTANCE = 0xFFFFFFFF
EVENT_XID = 0x8


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


def moment(at: float | None) -> str:
    """A time as the scenario file writes it; None is an open end."""
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
        return self._add(f"fault {target} error {code} {moment(since)} {moment(until)}")

    def hang(self, function: str = "*", since: float | None = None, until: float | None = None) -> Self:
        """Calls do not return until `until`, or until a rewritten scenario says otherwise."""
        return self._add(f"fault {function} hang {moment(since)} {moment(until)}")

    def latency(self, function: str, ms: float, since: float | None = None, until: float | None = None) -> Self:
        """Calls take this long."""
        return self._add(f"fault {function} latency {ms!r} {moment(since)} {moment(until)}")

    def segv(self, function: str, since: float | None = None, until: float | None = None) -> Self:
        """Calls kill the process."""
        return self._add(f"fault {function} segv {moment(since)} {moment(until)}")

    def lost(self, since: float, until: float | None = None, *, hidden: bool = False) -> Self:
        """Off the bus for a while: every call gives GPU_IS_LOST; hidden: not counted either."""
        return self._add(f"lost {moment(since)} {moment(until)} {'hidden' if hidden else ''}")

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
