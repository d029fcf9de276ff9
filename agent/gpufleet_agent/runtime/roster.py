"""What changed between two rosters, as events. Kinds and details are those the server uses for what it finds itself."""

from __future__ import annotations

from collections.abc import Iterator

from gpufleet_agent.runtime.clock import wall
from gpufleet_agent.wire import Event, Gpu, Roster
from gpufleet_agent.wire.report import Scalar

_COMPARED = tuple(name for name in Gpu.__struct_fields__ if name not in ("uuid", "partitions", "absent", "state"))


def roster_events(before: Roster, after: Roster) -> list[Event]:
    """GPUs that came, went, were lost or returned; fields and partitions that changed; a new driver."""
    old = {gpu.uuid: gpu for gpu in before.gpus}
    new = {gpu.uuid: gpu for gpu in after.gpus}
    events = [_about("gpu_added", gpu) for uuid, gpu in new.items() if uuid not in old]
    events += [_about("gpu_removed", gpu) for uuid, gpu in old.items() if uuid not in new]
    for uuid, gpu in new.items():
        if uuid in old:
            events += _gpu_events(old[uuid], gpu)
    versions = (before.host.driver_version, after.host.driver_version)
    if None not in versions and versions[0] != versions[1]:
        detail: dict[str, Scalar] = {"old": versions[0], "new": versions[1]}
        text = f"driver {versions[0]} → {versions[1]}"
        events.append(Event(at=wall(), kind="driver_changed", message=text, detail=detail))
    return events


def _gpu_events(before: Gpu, after: Gpu) -> Iterator[Event]:
    if before.state != after.state:
        yield _about("gpu_lost" if after.state == "lost" else "gpu_returned", after)
    # What a lost GPU is cannot be read; that is no change.
    if "lost" in (before.state, after.state):
        return
    for name in _COMPARED:
        old, new = getattr(before, name), getattr(after, name)
        if old != new and None not in (old, new):
            detail: dict[str, Scalar] = {"field": name, "old": old, "new": new}
            text = f"{name} {old} → {new}"[:2048]
            yield Event(at=wall(), kind="gpu_changed", gpu=after.uuid, message=text, detail=detail)
    yield from _partition_events(before, after)


def _partition_events(before: Gpu, after: Gpu) -> Iterator[Event]:
    old = {partition.uuid: partition for partition in before.partitions}
    new = {partition.uuid: partition for partition in after.partitions}
    changes = [("partition_added", new[uuid]) for uuid in new if uuid not in old]
    changes += [("partition_removed", old[uuid]) for uuid in old if uuid not in new]
    for kind, partition in changes:
        profile = partition.profile or ""
        yield Event(at=wall(), kind=kind, gpu=after.uuid, partition=partition.uuid, message=profile)


def _about(kind: str, gpu: Gpu) -> Event:
    detail: dict[str, Scalar] = {"serial": gpu.serial, "pci_address": gpu.pci_address, "index": gpu.index}
    text = f"GPU {gpu.index} ({gpu.model or 'model unknown'}, {gpu.serial or 'serial unknown'})"
    return Event(at=wall(), kind=kind, gpu=gpu.uuid, message=text, detail=detail)
