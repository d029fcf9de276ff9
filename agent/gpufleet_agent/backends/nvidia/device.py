"""One GPU of a session: its identity, its readers, and whether it is still there."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from gpufleet_agent.backends.backend import ProcessList
from gpufleet_agent.backends.nvidia import mig, samples, states
from gpufleet_agent.backends.nvidia.identity import identify, unreachable
from gpufleet_agent.backends.nvidia.library import GpuLost, Handle
from gpufleet_agent.backends.nvidia.moment import Moment
from gpufleet_agent.backends.nvidia.processes import ProcessLists
from gpufleet_agent.backends.nvidia.rows import Row, absent
from gpufleet_agent.backends.nvidia.sources import Binder
from gpufleet_agent.catalogue import BY_NAME, Reason
from gpufleet_agent.wire import Gpu

_Readers = list[Callable[[Moment], int]]
_Bound = tuple[Binder, _Readers]
# Where one of these changes, what was unsupported may be supported now.
_MODES = ("mig_mode", "ecc_mode", "nvlink_count", "slowdown_temperature", "power_limit_max", "partitions")
# How often MIG is looked at in between, s: the handle of a partition that is gone may be another's later.
_LOOK_SECONDS = 10.0


class Sampled(NamedTuple):
    """One sample: a stored integer for each of `samples.NAMES`, and by UUID for each of `samples.PARTITION_NAMES`."""

    gpu: list[int]
    partitions: dict[str, list[int]]


class Device:
    """A GPU that the driver shows. `driver` is the major number of the driver's version.

    Every method that reads raises DriverGone, and GpuLost once the GPU has fallen off the bus.
    """

    def __init__(self, identity: Gpu, handle: Handle | None, driver: int, reason: Reason = Reason.LOST) -> None:
        self.identity, self.handle, self._driver, self._reason = identity, handle, driver, reason
        self._sampling: _Bound | None = None
        self._of_partitions: dict[str, _Readers] = {}
        self._looked_at = 0.0
        self._stating: _Bound | None = None
        self._linking: _Bound | None = None
        self._lists: ProcessLists | None = None
        self._sampled_at: float | None = None

    @classmethod
    def behind(cls, handle: Handle, index: int, driver: int) -> Device:
        """The GPU behind a handle. One that is lost has no handle, and of its identity what can still be told."""
        identity = identify(handle, index)
        return cls(identity, None if identity.state == "lost" else handle, driver)

    @classmethod
    def hidden(cls, index: int, driver: int, reason: Reason) -> Device:
        """A GPU that is counted, but of which the driver gives no handle."""
        return cls(unreachable(index, reason), None, driver, reason)

    @property
    def is_lost(self) -> bool:
        """Whether there is nothing to read from."""
        return self.handle is None

    def lose(self) -> None:
        """The GPU is gone; its identity stays as it was last seen."""
        self.close()
        self.handle, self._reason, self._sampled_at = None, Reason.LOST, None
        self.identity = msgspec.structs.replace(self.identity, state="lost")

    def move(self, index: int) -> None:
        """The driver counts it at another place now."""
        self.identity = msgspec.structs.replace(self.identity, index=index)

    def refresh(self) -> Gpu:
        """Its identity as it is now."""
        if self.handle is None:
            return self.identity
        seen = identify(self.handle, self.identity.index)
        if seen.state == "lost":
            raise GpuLost
        if _needs_rebinding(self.identity, seen):
            self._unbind()
        self.identity = seen
        return seen

    def sample(self) -> Sampled:
        """One sample of the GPU and of its partitions."""
        if self.handle is None:
            nothing = absent(samples.PARTITION_METRICS, self._reason)
            gone = {partition.uuid: nothing for partition in self.identity.partitions}
            return Sampled(absent(samples.METRICS, self._reason), gone)
        try:
            self._look_at_partitions(self.handle)
            return self._sample(self.handle)
        except GpuLost:
            if not self.identity.partitions:
                raise
        # So may the handle of a partition answer that is gone: the GPU itself is asked, and read anew.
        self.refresh()
        self._unbind()
        return self._sample(self.handle)

    def states(self) -> dict[str, int]:
        """Metric → stored integer for each of `states.NAMES`."""
        if self.handle is None:
            return dict(zip(states.NAMES, absent(states.METRICS, self._reason), strict=True))
        if self._stating is None:
            self._stating = self._bind(self.handle, states.ROWS)
        moment = Moment(time.monotonic(), 0.0)
        return {name: read(moment) for name, read in zip(states.NAMES, self._stating[1], strict=True)}

    def load_states(self) -> dict[str, int]:
        """As `states`, of those only that follow the load."""
        names = [row.metric for row in states.LOAD_ROWS]
        if self.handle is None:
            return {name: BY_NAME[name].absent(self._reason) for name in names}
        if self._linking is None:
            self._linking = self._bind(self.handle, states.LOAD_ROWS)
        moment = Moment(time.monotonic(), 0.0)
        return {name: read(moment) for name, read in zip(names, self._linking[1], strict=True)}

    def processes(self) -> list[ProcessList]:
        """The processes on it, or on each of its partitions."""
        if self.handle is None:
            return [ProcessList(self.identity.uuid, reason=self._reason.word)]
        if self._lists is None:
            self._lists = ProcessLists(self.identity.uuid, self.handle, mig.instances(self.handle))
        return self._lists.read()

    def close(self) -> None:
        """Free what NVML holds for it."""
        self._unbind()

    def _sample(self, handle: Handle) -> Sampled:
        if self._sampling is None:
            self._sampling = self._bind(handle, samples.ROWS)
            parts = self._sampling[0].parts or ()
            self._of_partitions = {
                part.identity.uuid: [row.bind(part) for row in samples.PARTITION_ROWS] for part in parts
            }
        now = time.monotonic()
        moment = Moment(now, 0.0 if self._sampled_at is None else now - self._sampled_at)
        values = [read(moment) for read in self._sampling[1]]
        partitions = {uuid: [read(moment) for read in readers] for uuid, readers in self._of_partitions.items()}
        self._sampled_at = now
        samples.cross_check(values, self.identity)
        return Sampled(values, partitions)

    def _look_at_partitions(self, handle: Handle) -> None:
        """Meet those that were made or destroyed since the last time."""
        now = time.monotonic()
        if self.identity.mig_mode != "enabled" or now - self._looked_at < _LOOK_SECONDS:
            return
        self._looked_at = now
        there = [uuid for each in mig.instances(handle) if (uuid := mig.uuid(each)) is not None]
        if there != [partition.uuid for partition in self.identity.partitions]:
            self.refresh()

    def _bind(self, handle: Handle, rows: tuple[Row, ...]) -> _Bound:
        binder = mig.binder(handle, self.identity, self._driver)
        return binder, [row.bind(binder) for row in rows]

    def _unbind(self) -> None:
        for bound in (self._sampling, self._stating, self._linking):
            if bound is not None:
                bound[0].close()
        self._sampling = self._stating = self._linking = self._lists = None
        self._of_partitions = {}


def _needs_rebinding(before: Gpu, after: Gpu) -> bool:
    return any(getattr(before, name) != getattr(after, name) for name in _MODES)
