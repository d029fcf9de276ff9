"""MIG: the instances of a GPU as partitions."""

from __future__ import annotations

import math
from typing import Any

from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.backends.nvidia.facts import Fact, gather, get, text
from gpufleet_agent.backends.nvidia.library import Handle, ask
from gpufleet_agent.wire import Partition

_ENABLED = 1


def instances(handle: Handle) -> tuple[Handle, ...]:
    """The handles of a GPU's MIG devices; none where MIG is off or unknown."""
    try:
        if ask("nvmlDeviceGetMigMode", handle)[0] != _ENABLED:
            return ()
        count = ask("nvmlDeviceGetMaxMigDeviceCount", handle)
    except Reading:
        return ()
    return tuple(found for index in range(count) if (found := _instance(handle, index)) is not None)


def partitions(handles: tuple[Handle, ...]) -> list[Partition]:
    """The partitions behind such handles; one without a UUID cannot be told from others and is left out."""
    found = []
    for handle in handles:
        values, absent = gather(Partition, _FACTS, handle)
        if "uuid" in values:
            found.append(Partition(**values, absent=absent))
    return found


def _instance(handle: Handle, index: int) -> Handle | None:
    try:
        return ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, index)
    except Reading:
        # Indices have holes: an instance that was destroyed leaves one.
        return None


def _profile(handle: Handle) -> str:
    """The profile's name, which ends the device's; else made of the slices as NVIDIA names them."""
    _, _, profile = text(ask("nvmlDeviceGetName", handle)).partition(" MIG ")
    return profile or _composed(ask("nvmlDeviceGetAttributes_v2", handle))


def _composed(attributes: Any) -> str:
    gpu, compute = attributes.gpuInstanceSliceCount, attributes.computeInstanceSliceCount
    part = "" if gpu == compute else f"{compute}c."
    return f"{part}{gpu}g.{math.ceil(attributes.memorySizeMB / 1024)}gb"


_FACTS = (
    Fact("uuid", get("nvmlDeviceGetUUID", take=text)),
    Fact("profile", _profile),
    Fact("gpu_instance", get("nvmlDeviceGetGpuInstanceId")),
    Fact("compute_instance", get("nvmlDeviceGetComputeInstanceId")),
    Fact("memory_total", get("nvmlDeviceGetAttributes_v2", take=lambda found: found.memorySizeMB << 20)),
    Fact("multiprocessors", get("nvmlDeviceGetAttributes_v2", take=lambda found: found.multiprocessorCount)),
    Fact("slices", get("nvmlDeviceGetAttributes_v2", take=lambda found: found.gpuInstanceSliceCount)),
)
