"""Builds scenario files for the simulated driver (the format is described in README.md)."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from tests.nvml_sim.device import (
    EVENT_XID,
    NO_INSTANCE,
    Device,
    Gpu,
    Spec,
    Value,
    counter,
    error,
    linear,
    moment,
    pulse,
    sine,
    steps,
    typed,
)
from tests.nvml_sim.models import a100_mig, b200, busy, h100_mig, h100_sxm, healthy, old_card

__all__ = [
    "EVENT_XID",
    "NO_INSTANCE",
    "PCIE_THROUGHPUT",
    "Device",
    "Gpu",
    "Scenario",
    "Spec",
    "Value",
    "a100_mig",
    "b200",
    "busy",
    "counter",
    "error",
    "h100_mig",
    "h100_sxm",
    "healthy",
    "linear",
    "old_card",
    "pulse",
    "sine",
    "steps",
    "typed",
]

PCIE_THROUGHPUT = "nvmlDeviceGetPcieThroughput"

# The library looks at its file every 5 ms: after this pause every call sees the new one.
SETTLE_S = 0.008


def _system() -> Device:
    facts: dict[str, Value] = {
        "driver_version": "580.95.05",
        "nvml_version": "13.580.95.05",
        "cuda_driver_version": 13000,
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
        self.lines.append(f"reload {moment(since)} {moment(until)}")
        return self

    def init_error(self, code: str | int, since: float | None = None, until: float | None = None) -> Self:
        """nvmlInit gives this code: driver_not_loaded, no_permission, lib_rm_version_mismatch, ..."""
        self.lines.append(f"init {code} {moment(since)} {moment(until)}")
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
