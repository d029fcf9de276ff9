"""MIG: the instances of a GPU as partitions."""

from __future__ import annotations

import math
from typing import Any

from msgspec.structs import replace

from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.backends.nvidia.facts import Fact, gather, get, text
from gpufleet_agent.backends.nvidia.library import GpuLost, Handle, NotThere, ask
from gpufleet_agent.backends.nvidia.sources import Binder, Instance, Part
from gpufleet_agent.catalogue import Reason
from gpufleet_agent.wire import Gpu, Partition

_ENABLED = 1


def instances(handle: Handle) -> tuple[Handle, ...]:
    """The handles of a GPU's MIG devices; none where MIG is off or unknown."""
    return _listed(handle)[0]


def _listed(handle: Handle) -> tuple[tuple[Handle, ...], Reason | None]:
    """The handles that there are, and why there may be more."""
    try:
        if ask("nvmlDeviceGetMigMode", handle)[0] != _ENABLED:
            return (), None
        count = ask("nvmlDeviceGetMaxMigDeviceCount", handle)
    except Reading as failed:
        return (), failed.reason
    found, lacking = [], None
    for index in range(count):
        try:
            found.append(ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, index))
        except NotThere:
            # Indices have holes: an instance that was destroyed leaves one.
            continue
        except Reading as failed:
            lacking = failed.reason
    return tuple(found), lacking


def partitions(handle: Handle) -> list[Partition]:
    """The partitions of a GPU; one without a UUID cannot be told from others and is left out."""
    found = []
    for each in instances(handle):
        values, absent = gather(Partition, _FACTS, each)
        if "uuid" in values:
            found.append(Partition(**values, absent=absent))
    return _with_shares(found, _most(handle)) if found else []


def binder(handle: Handle, identity: Gpu, driver: int) -> Binder:
    """What a GPU is read through, and the partitions that its identity names."""
    if identity.mig_mode != "enabled":
        return Binder(handle, identity, driver)
    known = {partition.uuid: partition for partition in identity.partitions}
    made: dict[int, Instance] = {}
    found = []
    listed, lacking = _listed(handle)
    for each in listed:
        partition = known.get(uuid(each) or "")
        if partition is None or partition.gpu_instance is None:
            lacking = lacking or Reason.FAILED
        else:
            leads = partition.gpu_instance not in made
            instance = made.setdefault(partition.gpu_instance, Instance(handle, partition.gpu_instance))
            own = replace(identity, uuid=partition.uuid, memory_total=partition.memory_total)
            found.append(Part(each, own, driver, instance, partition.share, leads))
    return Binder(handle, identity, driver, tuple(found), lacking)


def uuid(handle: Handle) -> str | None:
    """The UUID of a partition; None where its handle gives none, or is no longer one."""
    try:
        return text(ask("nvmlDeviceGetUUID", handle))
    except (Reading, GpuLost):
        return None


def _most(handle: Handle) -> int:
    """How many partitions a GPU can have, which is how many slices; 0 where that is not known."""
    try:
        return int(ask("nvmlDeviceGetMaxMigDeviceCount", handle))
    except Reading:
        return 0


def _with_shares(found: list[Partition], grid: int) -> list[Partition]:
    """The partitions with their shares of a GPU of so many slices, where all that it takes is known."""
    sizes: dict[int, int] = {}
    for each in found:
        if each.gpu_instance is None or not each.slices or not each.compute_slices or not grid:
            why = {"share": Reason.UNSUPPORTED.word}
            return [replace(partition, absent=partition.absent | why) for partition in found]
        sizes[each.gpu_instance] = sizes.get(each.gpu_instance, 0) + each.compute_slices
    return [replace(each, share=_share(each, grid, sizes)) for each in found]


def _share(partition: Partition, grid: int, sizes: dict[int, int]) -> float:
    own, slices = partition.compute_slices or 0, partition.slices or 0
    return min(1.0, slices / grid * own / sizes[partition.gpu_instance or 0])


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
    Fact("compute_slices", get("nvmlDeviceGetAttributes_v2", take=lambda found: found.computeInstanceSliceCount)),
)
