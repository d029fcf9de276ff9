"""What came, went and changed: by comparing each roster of a node with the one before it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
from gpufleet_agent import wire

from tests.dashboards.fleet.sent import SentNode
from tests.dashboards.truth import roster
from tests.dashboards.truth.seen import Expected, Seen


@dataclass(frozen=True)
class Change:
    """Something that a roster told, at a time (µs), of a GPU where it is of one."""

    at: int
    kind: str
    node: SentNode
    gpu: wire.Gpu | None = None


def of_node(node: SentNode) -> Iterator[Change]:
    """All of one node; one event for each field of a GPU that differs, but for its state, which is the driver's."""
    (begin, before), *rest = node.rosters
    yield Change(begin, "node_added", node)
    for at, after in rest:
        known, there = ({gpu.uuid: gpu for gpu in each.gpus} for each in (before, after))
        yield from (Change(at, "gpu_removed", node, gpu) for uuid, gpu in known.items() if uuid not in there)
        yield from (Change(at, "gpu_added", node, gpu) for uuid, gpu in there.items() if uuid not in known)
        for uuid in known.keys() & there.keys():
            for _ in _fields(known[uuid], there[uuid]):
                yield Change(at, "gpu_changed", node, there[uuid])
        before = after


def _fields(before: wire.Gpu, after: wire.Gpu) -> list[str]:
    old, new = msgspec.to_builtins(before), msgspec.to_builtins(after)
    names = (old.keys() | new.keys()) - {"state", "partitions", "absent"}
    return [name for name in names if old.get(name) != new.get(name)]


def _chosen(seen: Seen) -> list[Change]:
    found = (change for node in roster.nodes(seen) for change in of_node(node))
    return [each for each in found if seen.begin <= each.at < seen.end]


def counted(seen: Seen) -> Expected:
    """How many of each kind there were in an interval."""
    width = seen.interval
    found = Counter((each.at // width * width, each.kind) for each in _chosen(seen))
    return Expected(series={key: [count] for key, count in found.items()})


def listed(seen: Seen) -> Expected:
    """Each of them."""
    return Expected(listing=[_row(each) for each in _chosen(seen)])


def _row(change: Change) -> dict[str, Any]:
    node, gpu = change.node.node, change.gpu
    return {
        "ts": change.at, "kind": change.kind, "site": node.site.name, "node": node.hostname, "node_uuid": node.id,
        "position": gpu.index if gpu else None, "serial": gpu.serial if gpu else None, "gpu": gpu.uuid if gpu else None,
    }  # fmt: skip


def gone(seen: Seen) -> Expected:
    """GPUs that nodes no longer have."""
    listing = []
    for node in roster.nodes(seen):
        for change in of_node(node):
            if change.kind == "gpu_removed" and seen.is_chosen(node.node.site.name, node.node.model.name):
                assert change.gpu is not None
                row = _row(change)
                del row["ts"], row["kind"]
                first = node.rosters[0][0]
                listing.append({"removed_at": change.at, "model": change.gpu.model, "first_seen": first} | row)
    return Expected(listing=listing)
