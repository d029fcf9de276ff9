"""An open NVML: the GPUs it shows, their samples and states, and what happens to them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from gpufleet_agent.backends.backend import DriverAbsent, DriverFacts, DriverGone, ProcessList, Reading, Tick
from gpufleet_agent.backends.nvidia import samples
from gpufleet_agent.backends.nvidia.devices import Devices
from gpufleet_agent.backends.nvidia.events import EventWatch
from gpufleet_agent.backends.nvidia.fabric_manager import FabricManager
from gpufleet_agent.backends.nvidia.facts import text
from gpufleet_agent.backends.nvidia.library import GpuLost, ask, close_library, open_library
from gpufleet_agent.wire import Event, Gpu

# How long to sleep where NVML's own wait fails, so that a broken driver is not asked in a tight loop, s.
_PATIENCE = 1.0


class NvidiaSession:
    """See Session. To be used by one thread only. `probe_every` (s): how often lost GPUs are looked for.

    `known` are the GPUs that a session before this one told; below `root` lie the files of the Fabric Manager.
    """

    def __init__(self, probe_every: float, known: Sequence[Gpu] = (), root: Path = Path("/")) -> None:
        open_library()
        self._devices = Devices(probe_every)
        self._watch = EventWatch(self._devices.identity)
        self._watched: list[Any] = []
        self._sampled_at: float | None = None
        self._fabric = FabricManager(root)
        try:
            self._devices.driver = _driver_branch(self.facts().driver_version)
            self._devices.count()
            self._register()
        except DriverGone as gone:
            self.close()
            raise DriverAbsent(str(gone)) from None
        # Those that were there from the start are no news.
        self._devices.news.clear()
        self._devices.recall(known)

    def facts(self) -> DriverFacts:
        """See Session."""
        getters = {**_FACTS, "fabric_manager": self._fabric.state, "fabric_manager_version": self._fabric.version}
        found: dict[str, Any] = dict.fromkeys(getters)
        absent: dict[str, str] = {}
        for name, getter in getters.items():
            try:
                found[name] = getter()
            except Reading as failed:
                absent[name] = failed.reason.word
        return DriverFacts(absent=absent, **found)

    def gpus(self) -> list[Gpu]:
        """See Session."""
        self._devices.count()
        self._devices.find_lost()
        self._register()
        return sorted((device.identity for device in self._devices), key=lambda gpu: gpu.index)

    def sample(self) -> Tick | None:
        """See Session."""
        self._devices.look_around()
        self._register()
        devices = tuple(self._devices)
        # A GPU that turns out to be lost is asked again: then it says so in each of its metrics.
        found = [self._devices.guarded(device, device.sample) or device.sample() for device in devices]
        now, before = time.monotonic(), self._sampled_at
        self._sampled_at = now
        if before is None or not found:
            return None
        states = {each.identity.uuid: self._devices.guarded(each, each.load_states) or {} for each in devices}
        partitions = {uuid: values for each in found for uuid, values in each.partitions.items()}
        return Tick(
            at=time.time_ns() // 1000,
            duration=round((now - before) * 1000),
            gpus=tuple(device.identity.uuid for device in devices),
            columns=_columns(samples.NAMES, [each.gpu for each in found]),
            partitions=tuple(partitions),
            partition_columns=_columns(samples.PARTITION_NAMES, list(partitions.values())),
            states=states,
        )

    def states(self) -> dict[str, dict[str, int]]:
        """See Session."""
        return {
            device.identity.uuid: self._devices.guarded(device, device.states) or device.states()
            for device in self._devices
        }

    def processes(self) -> list[ProcessList]:
        """See Session."""
        return [
            found
            for device in self._devices
            for found in self._devices.guarded(device, device.processes) or device.processes()
        ]

    def xid_gpus(self) -> list[str]:
        """See Session."""
        return list(self._watch.xid_gpus)

    def wait(self, seconds: float) -> list[Event]:
        """See Session."""
        deadline = time.monotonic() + seconds
        while True:
            left = max(deadline - time.monotonic(), 0.0)
            came = self._wait_once(0.0 if self._devices.news else left)
            events = self._devices.news + came
            self._devices.news = []
            if events or not left:
                return events

    def close(self) -> None:
        """See Session."""
        self._watch.close()
        self._devices.close()
        close_library()

    def _register(self) -> None:
        """Watch for events of GPUs that came since the last time. A lost one stays watched: its XIDs may be late."""
        there = [device.handle for device in self._devices if device.handle is not None]
        if all(any(handle is watched for watched in self._watched) for handle in there):
            return
        self._devices.news += self._drained()
        self._watch_those_there()

    def _watch_those_there(self) -> None:
        there = [(device.identity.uuid, device.handle) for device in self._devices if device.handle is not None]
        self._watched = [handle for _, handle in there]
        self._watch.register(there)

    def _drained(self) -> list[Event]:
        try:
            return self._watch.wait(0)
        except (GpuLost, Reading):
            return []

    def _wait_once(self, seconds: float) -> list[Event]:
        try:
            return self._watch.wait(seconds)
        except GpuLost:
            # NVML does not say which one; those that are still there get a new event set.
            self._devices.find_lost()
            self._watch_those_there()
        except Reading:
            pass
        if not self._devices.news:
            time.sleep(min(seconds, _PATIENCE))
        return []


def _columns(names: tuple[str, ...], rows: list[list[int]]) -> dict[str, list[int]]:
    return {name: list(column) for name, column in zip(names, zip(*rows, strict=True), strict=False)}


def _driver_branch(version: str | None) -> int:
    major = (version or "").partition(".")[0]
    return int(major) if major.isdecimal() else 0


def _cuda_version() -> str:
    number = int(ask("nvmlSystemGetCudaDriverVersion_v2"))
    return f"{number // 1000}.{number % 1000 // 10}"


_FACTS: dict[str, Callable[[], str]] = {
    "driver_version": lambda: text(ask("nvmlSystemGetDriverVersion")),
    "nvml_version": lambda: text(ask("nvmlSystemGetNVMLVersion")),
    "cuda_version": _cuda_version,
}
