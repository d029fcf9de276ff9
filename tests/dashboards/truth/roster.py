"""What there is: nodes and GPUs as their rosters told them last, and what changed of that."""

from collections.abc import Iterator
from typing import Any

from gpufleet_agent import wire

from tests.dashboards.fleet.sent import SentNode
from tests.dashboards.truth.seen import Expected, Seen
from tests.dashboards.truth.standing import gpu_states, node_state


def nodes(seen: Seen) -> Iterator[SentNode]:
    """The nodes of the chosen sites."""
    return (each for each in seen.world.sent.nodes if seen.is_chosen(each.node.site.name))


def gpus(seen: Seen) -> Iterator[tuple[SentNode, int, wire.Gpu]]:
    """The GPUs that nodes have, of the chosen sites and models, with their places."""
    for node in nodes(seen):
        if seen.is_chosen(node.node.site.name, node.node.model.name):
            yield from ((node, place, gpu) for place, gpu in enumerate(node.roster.gpus))


def state_of(seen: Seen, node: SentNode) -> str:
    """The state of a node at the end."""
    heard = node.heard(seen.world.end)
    assert heard is not None
    return node_state(heard, seen.world.end)


def broken(seen: Seen) -> Expected:
    """GPUs that are lost, or whose node's driver fails."""
    listing = [
        {"state": state, "site": node.node.site.name, "rack": node.node.rack, "node": node.node.hostname,
         "position": place, "model": gpu.model, "serial": gpu.serial, "node_last_seen": node.last_seen,
         "node_uuid": node.node.id, "gpu": gpu.uuid}
        for node, place, gpu in gpus(seen)
        if (state := gpu_states(node, seen.world.end)[place]) in ("lost", "driver_failed")
    ]  # fmt: skip
    return Expected(listing=listing)


def silent(seen: Seen) -> Expected:
    """Nodes that do not report."""
    listing = [_node(node) for node in nodes(seen) if state_of(seen, node) == "not_reporting"]
    return Expected(listing=listing)


def _node(node: SentNode) -> dict[str, Any]:
    return {
        "site": node.node.site.name, "rack": node.node.rack, "node": node.node.hostname,
        "gpus": len(node.roster.gpus), "last_seen": node.last_seen, "node_uuid": node.node.id,
    }  # fmt: skip
