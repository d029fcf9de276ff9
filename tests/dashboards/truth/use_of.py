"""Who used GPUs: the pieces that agents told, joined to the intervals that they make up, and cut by the range."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpufleet_agent import wire

from tests.dashboards.fleet.sent import SentNode
from tests.dashboards.truth.seen import Expected, Seen

_DAY, _LEAST_GAP = 86_400_000_000, 2_000_000

_SUMS = ("observed", "active", "held", "activity", "activity_known")


@dataclass(frozen=True)
class Interval:
    """A holder on a GPU, or a partition of it, from `begin` to `end` (µs). Times in s, `activity` in % × s."""

    node: SentNode
    gpu: str
    partition: str | None
    holder: wire.Holder
    begin: int
    end: int
    observed: float
    active: float
    held: float
    memory_most: int
    activity: float
    activity_known: float

    @property
    def place(self) -> int:
        """The place of the GPU in its node."""
        return self.node.uuids.index(self.gpu)

    def within(self, begin: int, end: int) -> "Interval":
        """The part of it that lies in (begin, end], what it sums up in proportion."""
        since, until = max(self.begin, begin), min(self.end, end)
        part = (until - since) / (self.end - self.begin)
        return replace(self.scaled(part), begin=since, end=until)

    def scaled(self, part: float, sums: Sequence[str] = _SUMS) -> "Interval":
        """The same with so much of its sums, or of some of them."""
        return replace(self, **{name: getattr(self, name) * part for name in sums})


def intervals(node: SentNode) -> list[Interval]:
    """All of one node, cut at midnight UTC; pieces that follow upon each other are one."""
    together: dict[Any, list[Interval]] = defaultdict(list)
    for piece in pieces(node):
        for part in _days(piece):
            key = part.gpu, part.partition, known_by(part.holder), part.begin // _DAY
            together[key].append(part)
    return [each for some in together.values() for each in _merged(sorted(some, key=lambda one: one.begin))]


def known_by(holder: wire.Holder) -> tuple[Any, ...]:
    """What tells one workload from another."""
    return (
        holder.kind, holder.uid, holder.user, holder.account, holder.slurm_partition, holder.namespace, holder.job,
        holder.step, holder.pod_uid, holder.container, holder.unit,
    )  # fmt: skip


def workload(each: Interval) -> tuple[Any, ...]:
    """The same over nodes: a Slurm step of a site is one on all of them, a pod has an id, all else is the node's."""
    scope = {"slurm": each.node.node.site.name, "kubernetes": ""}.get(each.holder.kind, each.node.node.id)
    return scope, *known_by(each.holder)


def pieces(node: SentNode) -> Iterator[Interval]:
    """All that a node told."""
    for holder, piece in node.usage:
        seconds = piece.observed / 1000
        known = 0.0 if piece.activity is None else seconds
        yield Interval(
            node, piece.gpu, piece.partition, holder, piece.begin, piece.end, seconds, piece.active / 1000,
            piece.held / 1000, piece.memory_most or 0, (piece.activity or 0) / 100 * known, known,
        )  # fmt: skip


def _days(piece: Interval) -> Iterator[Interval]:
    for day in range(piece.begin // _DAY * _DAY, piece.end, _DAY):
        if piece.end > max(day, piece.begin):
            yield piece.within(day, day + _DAY)


def _merged(some: list[Interval]) -> Iterator[Interval]:
    now = some[0]
    for each in some[1:]:
        if each.begin - now.end > max(_LEAST_GAP, _interval(each)):
            yield now
            now = each
        else:
            now = _joined(now, each)
    yield now


def _interval(each: Interval) -> int:
    heard = each.node.heard(each.end + 3_600_000_000)
    return heard.interval * 1000 if heard is not None else 0


def _joined(one: Interval, other: Interval) -> Interval:
    added = {
        name: getattr(one, name) + getattr(other, name)
        for name in ("observed", "active", "held", "activity", "activity_known")
    }
    most = max(one.memory_most, other.memory_most)
    return replace(one, end=max(one.end, other.end), memory_most=most, **added)


def name_of(holder: wire.Holder) -> str:
    """A workload in a few words."""
    match holder.kind:
        case "slurm":
            return f"{holder.user} job {holder.job}" if holder.user else f"job {holder.job}"
        case "kubernetes":
            return f"{holder.namespace}/{holder.pod}"
        case "container":
            return holder.container_name or f"{holder.runtime} {(holder.container or '?')[:12]}"
        case "unit":
            return f"{holder.unit} ({holder.user})" if holder.user else str(holder.unit)
        case _:
            return f"({holder.kind})"


def _of_node(seen: Seen, gpu: str | None = None) -> list[Interval]:
    """The intervals of the chosen node that overlap the range, whole ones."""
    (node,) = (each for each in seen.world.sent.nodes if each.node.id in seen.values("node"))
    found = (each for each in intervals(node) if each.begin < seen.end and each.end > seen.begin)
    return [each for each in found if gpu is None or each.gpu == gpu]


def _workloads(seen: Seen, some: Iterable[Interval]) -> Expected:
    groups: dict[Any, list[Interval]] = defaultdict(list)
    for each in some:
        groups[known_by(each.holder)].append(each)
    listing = [_workload(seen, group) for group in groups.values()]
    return Expected(listing=listing, relative=1e-4, absolute=1e-3, most=100)


def _workload(seen: Seen, group: list[Interval]) -> dict[str, Any]:
    holder, parts = group[0].holder, [each.within(seen.begin, seen.end) for each in group]
    active, held = (sum(getattr(each, name) for each in parts) / 3600 for name in ("active", "held"))
    known = sum(each.activity_known for each in parts)
    return {
        "holder": name_of(holder), "kind": holder.kind, "gpus": len({each.gpu for each in group}),
        "active_hours": active, "held_hours": held,
        "activity": sum(each.activity for each in parts) / known if known else None,
        "memory_most": max(each.memory_most for each in group), "first": min(each.begin for each in group),
        "last": max(each.end for each in group),
    }  # fmt: skip


def workloads_of_node(seen: Seen) -> Expected:
    """What each workload had of a node."""
    return _workloads(seen, _of_node(seen))


def workloads_of_gpu(seen: Seen) -> Expected:
    """What each workload had of a GPU."""
    return _workloads(seen, _of_node(seen, seen.values("gpu")[0]))


def _bands(seen: Seen, some: Iterable[Interval], places: Iterable[int]) -> Expected:
    """Who had a GPU in an interval: whoever had it longest, and whoever had it for half of it."""
    width = seen.interval
    had: dict[tuple[int, int], dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for each in (one.within(seen.begin, seen.end) for one in some):
        for at in range(each.begin // width * width, each.end, width):
            had[at, each.place][name_of(each.holder)] += min(each.end, at + width) - max(each.begin, at)
    moments = range(seen.begin // width * width, seen.end, width)
    return Expected(series={(at, str(place)): [_names(had[at, place], width)] for at in moments for place in places})


def _names(had: dict[str, int], width: int) -> str | None:
    listed = sorted(had, key=lambda name: (-had[name], name))
    return ", ".join([*listed[:1], *(name for name in listed[1:] if 2 * had[name] >= width)]) or None


def bands_of_node(seen: Seen) -> Expected:
    """From when on which workloads had the GPUs of a node."""
    (node,) = (each for each in seen.world.sent.nodes if each.node.id in seen.values("node"))
    return _bands(seen, _of_node(seen), range(len(node.uuids)))


def bands_of_gpu(seen: Seen) -> Expected:
    """From when on which workloads had a GPU."""
    (node,) = (each for each in seen.world.sent.nodes if each.node.id in seen.values("node"))
    gpu = seen.values("gpu")[0]
    return _bands(seen, _of_node(seen, gpu), [node.uuids.index(gpu)])
