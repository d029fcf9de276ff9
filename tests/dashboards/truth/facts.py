"""What is known of a node and of a GPU now."""

import datetime
from collections.abc import Mapping
from typing import Any

from gpufleet_agent.catalogue import BY_NAME

from tests.dashboards.fleet.sent import SentNode
from tests.dashboards.truth import roster, single
from tests.dashboards.truth.seen import Expected, Seen
from tests.dashboards.truth.standing import gpu_states

_SHOWN = ("gpu_utilization", "sm_active", "fb_used", "power", "gpu_temperature")


def the_node(seen: Seen) -> SentNode:
    """The node that is chosen."""
    return next(each for each in seen.world.sent.nodes if each.node.id in seen.values("node"))


def _listed(told: Mapping[str, str | None], seen: Seen, moving: tuple[str, ...]) -> Expected:
    """Facts by name; of those that go by the clock there is only that they are there."""
    names = {row[0] for row in seen.asked.rows}
    assert names == {*told, *moving}
    there = [{"name": name, "value": value} for name, value in told.items()]
    return Expected(listing=there + [{"name": name} for name in moving])


def of_node(seen: Seen) -> Expected:
    """All facts of a node."""
    node = the_node(seen)
    host, heard = node.roster.host, node.reports[-1]
    driver = [host.driver_version, node.driver.state, node.driver.detail] if node.driver else []
    offset = -node.node.skew / 1e6
    told = {
        "Hostname": node.node.hostname, "UUID": node.node.id, "State": roster.state_of(seen, node),
        "Driver": ", ".join(each for each in driver if each), "CUDA": host.cuda_version,
        "Site, room, rack": f"{node.node.site.name}, {node.node.room}, {node.node.rack}",
        "GPUs": str(len(node.roster.gpus)), "Operating system": host.os, "Kernel": host.kernel,
        "Agent": host.agent_version, "Interval between samples": f"{heard.interval / 1000:g} s",
        "Its clock is behind by": f"{offset:.3f} s", "Reports that wait on it": "0, 0 bytes",
        "Reports that it gave up": "0", "Simulated": "yes",
    }  # fmt: skip
    return _listed(told, seen, ("Last report", "Known for"))


def gpus_now(seen: Seen) -> Expected:
    """Each GPU of a node with its newest sample."""
    node = the_node(seen)
    states = gpu_states(node, seen.world.end)
    listing = []
    for gpu in single.gpus(seen, seen.values("node"), [each.uuid for each in node.roster.gpus]):
        newest = gpu.rows[gpu.rows.at == gpu.rows.at.max()]
        told = node.roster.gpus[gpu.place]
        row: dict[str, Any] = {name: float(newest.values(name)[0]) for name in _SHOWN}
        row |= {
            "position": gpu.place, "model": told.model, "serial": told.serial, "state": states[gpu.place],
            "use": str(newest.use[0]), "memory_total": told.memory_total, "sampled": int(newest.at[0]),
            "gpu": told.uuid,
        }  # fmt: skip
        listing.append(row)
    return Expected(listing=listing)


def newest(seen: Seen) -> Expected:
    """The newest sample of the GPU that is chosen."""
    rows = single.chosen(seen).rows
    last = rows[rows.at == rows.at.max()]
    names = [name for name in seen.asked.returns if name in BY_NAME]
    return Expected(listing=[{name: float(last.values(name)[0]) for name in names}])


def of_gpu(seen: Seen) -> Expected:
    """All facts of a GPU; one that is gone as it was told last."""
    node, (uuid,) = the_node(seen), seen.values("gpu")
    at, gpu = next((at, each) for at, told in reversed(node.rosters) for each in told.gpus if each.uuid == uuid)
    host, place = node.roster.host, node.uuids.index(uuid)
    gone = next((when for when, told in node.rosters if when > at), None)
    state = "removed" if gone is not None else gpu_states(node, seen.world.end)[place]
    told = {
        "UUID": uuid, "Serial": gpu.serial, "Model": f"{gpu.vendor} {gpu.model}",
        "Part number": gpu.board_part_number or "(none)", "State": state, "Node": node.node.hostname,
        "Index, PCI address": f"{gpu.index}, {gpu.pci_address}",
        "Site, room, rack": f"{node.node.site.name}, {node.node.room}, {node.node.rack}",
        "Memory": _size(gpu.memory_total or 0),
        "VBIOS": gpu.vbios_version or "(none)", "InfoROM": gpu.inforom_image_version or "(none)",
        "GSP firmware": gpu.gsp_firmware_version or "(none)",
        "Driver, CUDA": f"{host.driver_version}, {host.cuda_version}",
        "First seen in this node": _moment(node.rosters[0][0]), "Gone since": _moment(gone), "Simulated": "yes",
    }  # fmt: skip
    return _listed(told, seen, ())


def _size(bytes_: int) -> str:
    """In GB from ten on."""
    gib = bytes_ / 2**30
    return f"{int(gib + 0.5)} GB" if gib >= 10 else f"{int(bytes_ / 2**20 + 0.5)} MB"


def _moment(at: int | None) -> str | None:
    if at is None:
        return None
    return f"{datetime.datetime.fromtimestamp(at / 1e6, datetime.UTC):%Y-%m-%d %H:%M} UTC"
