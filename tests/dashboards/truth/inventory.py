"""The board Inventory."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from gpufleet_agent import wire

from tests.dashboards.fleet.sent import SentNode
from tests.dashboards.truth import changes, roster
from tests.dashboards.truth.fleet import owned_by_model
from tests.dashboards.truth.seen import Expected, Seen, Truth
from tests.dashboards.truth.standing import at_end

NONE = "(none)"
_Gpu = tuple[SentNode, int, wire.Gpu]


def _types(seen: Seen) -> Expected:
    counted = at_end(seen)
    owned, reporting, sites = Counter[str](), Counter[str](), defaultdict[str, set[str]](set)
    for (site, model, state), count in counted.items():
        owned[model] += count
        reporting[model] += count * (state == "reporting")
        sites[model].add(site)
    listing = [
        {"model": model, "gpus": count, "share": 100 * count / owned.total(), "reporting": reporting[model],
         "sites": len(sites[model])}
        for model, count in owned.items()
    ]  # fmt: skip
    return Expected(listing=listing)


def _by(gpus: Iterable[_Gpu], key: Callable[[SentNode, wire.Gpu], Any]) -> dict[Any, list[_Gpu]]:
    found: dict[Any, list[_Gpu]] = defaultdict(list)
    for each in gpus:
        found[key(each[0], each[2])].append(each)
    return found


def _sites(seen: Seen) -> Expected:
    found = Counter[str]()
    for (site, *_), count in at_end(seen).items():
        found[site] += count
    return Expected(listing=[{"site": site, "gpus": count} for site, count in found.items()])


def _versions(*names: str, values: Callable[[SentNode, wire.Gpu], tuple[Any, ...]]) -> Truth:
    def truth(seen: Seen) -> Expected:
        gpus = list(roster.gpus(seen))
        of_model = Counter(gpu.model for *_, gpu in gpus)
        listing = []
        for key, some in _by(gpus, lambda node, gpu: tuple(each or NONE for each in values(node, gpu))).items():
            total = of_model[key[0]] if names[0] == "model" else len(gpus)
            share = 100 * len(some) / total
            listing.append(dict(zip(names, key, strict=True)) | {"gpus": len(some), "share": share})
        return Expected(listing=listing)

    return truth


def _systems(seen: Seen) -> Expected:
    hosts = [node.roster.host for node in roster.nodes(seen)]
    found = Counter((host.agent_version, host.kernel, host.os) for host in hosts)
    names = ("agent_version", "kernel", "os")
    listing = [
        dict(zip(names, key, strict=True)) | {"nodes": count, "share": 100 * count / len(hosts)}
        for key, count in found.items()
    ]
    return Expected(listing=listing)


def _nodes(seen: Seen) -> Expected:
    listing = [
        {"site": each.node.site.name, "room": each.node.room, "rack": each.node.rack, "node": each.node.hostname,
         "gpus": len(each.roster.gpus), "state": roster.state_of(seen, each),
         "driver": each.roster.host.driver_version, "kernel": each.roster.host.kernel,
         "agent_version": each.roster.host.agent_version, "first_seen": each.reports[0].at,
         "last_seen": each.last_seen, "node_uuid": each.node.id}
        for each in roster.nodes(seen)
    ]  # fmt: skip
    return Expected(listing=listing)


TRUTHS: dict[str, Truth] = {
    "Types": _types,
    "By site": _sites,
    "Owned, by model": owned_by_model,
    "Drivers": _versions(
        "driver", "cuda", values=lambda node, _: (node.roster.host.driver_version, node.roster.host.cuda_version)
    ),
    "VBIOS": _versions("model", "vbios", values=lambda _, gpu: (gpu.model, gpu.vbios_version)),
    "Firmware and boards": _versions(
        "model", "part_number", "inforom", "firmware",
        values=lambda _, gpu: (
            gpu.model, gpu.board_part_number, gpu.inforom_image_version, gpu.gsp_firmware_version,
        ),
    ),
    "Agents and systems": _systems,
    "Changes of rosters": changes.counted,
    "Each change": changes.listed,
    "GPUs that are gone": changes.gone,
    "Nodes, first and last seen": _nodes,
}  # fmt: skip
