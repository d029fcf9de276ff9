"""Who runs what on simulated nodes: jobs of teams, pods, containers, sessions. A pure function of node and job."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpufleet_agent.wire import Holder

from gpufleet_server.simulate.identity import partition_parts
from gpufleet_server.simulate.plan import SimNode, Use
from gpufleet_server.simulate.workload import HELD, INFERENCE, LEFT


@dataclass(frozen=True, slots=True)
class Team:
    """A team: its account and namespace have its name. `first_uid` is the first of its users'."""

    name: str
    users: tuple[str, ...]
    first_uid: int
    apps: tuple[str, ...]


TEAMS = (
    Team("pretrain", ("amara", "bjorn", "chen", "divya", "emeka"), 1100, ("trainer",)),
    Team("search", ("farid", "greta", "hana"), 1200, ("ranker", "embedder")),
    Team("ads", ("ines", "jonas", "kavya"), 1300, ("bidder", "ctr-model")),
    Team("moderation", ("lena", "mateo"), 1400, ("toxicity", "image-filter")),
)
NOBODY = Holder(kind="nobody")
_SERVING = TEAMS[1:]
_MOST_NODE_GPUS = 64
# So many jobs' numbers are left free between those of one time and the next.
_JOBS, _TIMES = 100_000, 20_000


@dataclass(frozen=True, slots=True)
class Place:
    """A holder on a GPU, or on a partition that is `share` of it; places with the same `job` have one holder.

    `plain` is a whole GPU of a node whose clock is right.
    """

    gpu: str
    partition: str | None
    share: float
    job: object
    holder: Holder
    plain: bool


class Places:
    """The holders on one node's GPUs, kept until others come. `skew` (µs) is how far the node's clock is ahead."""

    __slots__ = ("_known", "_node", "_uuids", "skew")

    def __init__(self, node: SimNode, uuids: Sequence[str]) -> None:
        self._node, self._uuids, self.skew = node, uuids, node.skew
        self._known: dict[int, tuple[int, int, list[Place]]] = {}

    def of(self, gpu: int, kind: int, slot: int) -> list[Place]:
        """Who has the job `slot` of this kind on a GPU."""
        known = self._known.get(gpu)
        if known is None or known[0] != kind or known[1] != slot:
            known = self._known[gpu] = kind, slot, list(self._look(gpu, kind, slot))
        return known[2]

    def _look(self, gpu: int, kind: int, slot: int) -> Iterator[Place]:
        node, uuid_, plain = self._node, self._uuids[gpu], not self.skew
        if gpu < node.partitioned:
            if kind != LEFT:  # which nothing tells of a partition
                for number, (partition, share) in enumerate(partition_parts(node, gpu)):
                    pod = _pod(_drawn(node, (gpu, number), slot))
                    yield Place(uuid_, partition, share, (gpu, number, slot), pod, plain=False)
        elif kind == LEFT:
            yield Place(uuid_, None, 1.0, None, NOBODY, plain)
        else:
            owner = -1 if node.use is Use.TRAINING else gpu
            yield Place(uuid_, None, 1.0, (owner, slot), holder(node, gpu, kind, slot), plain)


def holder(node: SimNode, gpu: int, kind: int, slot: int) -> Holder:
    """Who has the job `slot` of this kind on a whole GPU. The training nodes of a rack have one job together."""
    if node.use is Use.TRAINING:
        drawn = hashlib.blake2b(repr((node.seed, node.site.name, node.rack, slot)).encode(), digest_size=32).digest()
        return _job(node, int(node.rack[1:]), kind, slot, TEAMS[0], drawn)
    drawn = _drawn(node, (gpu,), slot)
    if node.use is Use.DESK:
        return _session(drawn)
    if kind == INFERENCE or node.use is Use.INFERENCE:
        return _pod(drawn)
    if kind == HELD and drawn[3] % 2:
        return Holder(kind="container", uid=0, user="root", container=drawn.hex(), runtime="docker", command="python3")
    number = _JOBS // 2 + (node.number * _MOST_NODE_GPUS + gpu) % (_JOBS // 2)
    return _job(node, number, kind, slot, _team(drawn), drawn)


def _drawn(node: SimNode, place: tuple[int, ...], slot: int) -> bytes:
    return hashlib.blake2b(repr((node.seed, node.number, place, slot)).encode(), digest_size=32).digest()


def _job(node: SimNode, number: int, kind: int, slot: int, team: Team, drawn: bytes) -> Holder:
    user = drawn[1] % len(team.users)
    return Holder(
        kind="slurm",
        uid=team.first_uid + user,
        user=team.users[user],
        job=str(slot % _TIMES * _JOBS + number),
        step="interactive" if kind == HELD else "0",
        account=team.name,
        slurm_partition="train" if node.use is Use.TRAINING else "mixed",
        command="python3",
    )


def _pod(drawn: bytes) -> Holder:
    team = _team(drawn)
    app = team.apps[drawn[1] % len(team.apps)]
    return Holder(
        kind="kubernetes",
        uid=1000,
        namespace=team.name,
        pod=f"{app}-{drawn[2:7].hex()}-{drawn[7:9].hex()}",
        pod_uid=str(uuid.UUID(bytes=drawn[9:25])),
        container=hashlib.sha256(drawn).hexdigest(),
        container_name="server",
        runtime="containerd",
        command="tritonserver",
        absent={"user": "the user ids in a pod are the pod's own"},
    )


def _session(drawn: bytes) -> Holder:
    team = _team(drawn)
    user = drawn[1] % len(team.users)
    return Holder(
        kind="unit",
        uid=team.first_uid + user,
        user=team.users[user],
        unit=f"session-{drawn[2]}.scope",
        command="jupyter-lab",
    )


def _team(drawn: bytes) -> Team:
    return _SERVING[drawn[0] % len(_SERVING)]
