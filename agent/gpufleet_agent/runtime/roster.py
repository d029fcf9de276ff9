"""What changed between two rosters, as events."""

from __future__ import annotations

from gpufleet_agent.runtime.clock import wall
from gpufleet_agent.wire import Event, Gpu, Roster
from gpufleet_agent.wire.report import Scalar


def roster_events(before: Roster, after: Roster) -> list[Event]:
    """GPUs that came, went, were lost or returned, whose identity fields or partitions changed; a new driver."""
    old = {gpu.uuid: gpu for gpu in before.gpus}
    new = {gpu.uuid: gpu for gpu in after.gpus}
    events = [_event("gpu_added", gpu) for uuid, gpu in new.items() if uuid not in old]
    events += [_event("gpu_removed", gpu) for uuid, gpu in old.items() if uuid not in new]
    for uuid in old.keys() & new.keys():
        events += _gpu_events(old[uuid], new[uuid])
    versions = (before.host.driver_version, after.host.driver_version)
    if None not in versions and versions[0] != versions[1]:
        text = f"the driver changed from {versions[0]} to {versions[1]}"
        detail: dict[str, Scalar] = {"from": versions[0], "to": versions[1]}
        events.append(Event(at=wall(), kind="driver_changed", message=text, detail=detail))
    return events


def _gpu_events(before: Gpu, after: Gpu) -> list[Event]:
    if before.state != after.state:
        return [_event("gpu_lost" if after.state == "lost" else "gpu_returned", after)]
    events = []
    if before.partitions != after.partitions:
        detail: dict[str, Scalar] = {"from": len(before.partitions), "to": len(after.partitions)}
        events.append(Event(at=wall(), kind="partitions_changed", gpu=after.uuid, detail=detail, message=_name(after)))
    skipped = ("partitions", "absent", "state")
    changed = [
        name for name in Gpu.__struct_fields__ if name not in skipped and getattr(before, name) != getattr(after, name)
    ]
    if changed:
        detail_changed = {name: f"{getattr(before, name)} → {getattr(after, name)}"[:256] for name in changed}
        text = f"{_name(after)}: {', '.join(changed)} changed"
        events.append(Event(at=wall(), kind="gpu_changed", gpu=after.uuid, message=text, detail={**detail_changed}))
    return events


def _event(kind: str, gpu: Gpu) -> Event:
    detail: dict[str, Scalar] = {"serial": gpu.serial, "pci_address": gpu.pci_address, "index": gpu.index}
    return Event(at=wall(), kind=kind, gpu=gpu.uuid, message=_name(gpu), detail=detail)


def _name(gpu: Gpu) -> str:
    return f"GPU {gpu.index} ({gpu.model or 'model unknown'}, {gpu.serial or 'serial unknown'})"
