"""What a vendor's backend gives: a session on its driver, read from one thread of one process."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from gpufleet_agent.catalogue import Reason
from gpufleet_agent.wire import Event, Gpu


class DriverAbsent(Exception):
    """There is no driver to read here: no library, not loaded, or no permission. The text says which."""


class DriverGone(Exception):
    """The session is over (driver reloaded, library lost): close it and open another.

    Or none can begin although the driver is there, since its parts do not fit together.
    """


@dataclass(frozen=True, slots=True)
class DriverFacts:
    """Versions of a driver and of the service that belongs to it, None where it does not tell.

    `fabric_manager` is `running` or `stopped`.
    """

    driver_version: str | None
    nvml_version: str | None
    cuda_version: str | None
    absent: dict[str, str]
    fabric_manager: Literal["running", "stopped"] | None = None
    fabric_manager_version: str | None = None


@dataclass(frozen=True, slots=True)
class Tick:
    """One sample of all GPUs, and of the partitions they are cut into.

    `at` is the end of the interval (µs since the epoch), `duration` its length (ms). `columns` maps every metric
    of cadence *every sample* to one stored integer a GPU, in the order of `gpus` (UUIDs); absent values are in it.
    `partition_columns` maps each of them that partitions have to one stored integer a partition, in the order of
    `partitions` (UUIDs). `states` maps GPUs (UUIDs) to the metrics that are sent on change but follow the load, such as
    the PCIe link's generation, and these to the integers of the same moment.
    """

    at: int
    duration: int
    gpus: tuple[str, ...]
    columns: dict[str, list[int]]
    partitions: tuple[str, ...] = ()
    partition_columns: dict[str, list[int]] = field(default_factory=dict)
    states: dict[str, dict[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GpuProcess:
    """A process that the driver shows on a GPU or partition.

    `pid` is as the driver has it: the host's, or 0 where it names none. `kinds` are of compute, graphics and mps;
    `memory` is in bytes, `sm` the percentage of the time since the call before in which its kernels ran. `absent` maps
    either of them that is None to the reason.
    """

    pid: int
    kinds: tuple[str, ...]
    memory: int | None
    sm: float | None
    absent: dict[str, str]


@dataclass(frozen=True, slots=True)
class ProcessList:
    """The processes on a GPU (UUID), or on the partition (UUID) of it; `reason` says why they are not known."""

    gpu: str
    partition: str | None = None
    processes: tuple[GpuProcess, ...] = ()
    reason: str | None = None


class Session(Protocol):
    """An open driver. Every method may block for as long as the driver does; the caller watches the clock."""

    def facts(self) -> DriverFacts:
        """The driver's versions."""
        ...

    def gpus(self) -> list[Gpu]:
        """The GPUs as they are now, in the driver's order, with lost ones that this session has seen. Slow."""
        ...

    def sample(self) -> Tick | None:
        """The metrics of every sample since the call before; None on the first call, which sets the baseline."""
        ...

    def states(self) -> dict[str, dict[str, int]]:
        """GPU → metric → stored integer for every metric that is sent on change. Slow."""
        ...

    def processes(self) -> list[ProcessList]:
        """The processes on each GPU now; on each of its partitions where it has some."""
        ...

    def xid_gpus(self) -> list[str]:
        """The GPUs (UUIDs) whose XIDs `wait` tells."""
        ...

    def wait(self, seconds: float) -> list[Event]:
        """Sleep until something happened or the time is over; what happened since the call before."""
        ...

    def close(self) -> None:
        """Let go of the driver."""
        ...


class Backend(Protocol):
    """A vendor. Its module holds one such object named BACKEND."""

    vendor: str

    def open(self, known: Sequence[Gpu] = ()) -> Session:
        """Load the driver's library and open it. DriverAbsent where there is none.

        `known` are the GPUs as a session before told them: those that are not found now are lost, and events tell
        which of them were found before, and which lost ones came back.
        """
        ...


class Reading(Exception):
    """A value that could not be read, with the reason."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason)
        self.reason = reason

    def __str__(self) -> str:
        return self.reason.word
