"""Who used the GPUs: the pieces of usage intervals that a report brings."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gpufleet_agent.wire.inventory import Absences, Size, Small

HolderKind = Literal["slurm", "kubernetes", "container", "unit", "unknown", "nobody"]

Moment = Annotated[int, Meta(ge=0, lt=1 << 62)]
Share = Annotated[int, Meta(ge=0, le=10_000)]
PartOf = Annotated[str, Meta(min_length=1, max_length=128)]
# A Text whose characters nobody looks at before it is kept: a pattern for each of so many, most of them known from the
# report before, costs more than all else of a report.
Word = Annotated[str, Meta(max_length=256)]

MAX_HOLDERS = 4096
MAX_USAGE = 16_384


class Holder(Struct, kw_only=True, frozen=True, omit_defaults=True):
    """A workload that holds GPUs: its `kind`, the outermost owner of what is filled in, and what is known of it.

    `nobody`: memory of a GPU is held and the driver lists no process; `unknown`: it is not known which processes
    there are, or whose. `uid` and `user` are of the node; `container` is the runtime's id; `command` is a program's
    name, never its arguments. `absent` maps each field that belongs to this kind and is None to the reason;
    `processes` there says why a GPU's processes are not known.
    """

    kind: HolderKind
    uid: Annotated[int, Meta(ge=0, lt=1 << 32)] | None = None
    user: Word | None = None
    job: Word | None = None
    sluid: Word | None = None
    step: Word | None = None
    account: Word | None = None
    slurm_partition: Word | None = None
    namespace: Word | None = None
    pod: Word | None = None
    pod_uid: Word | None = None
    container: Word | None = None
    container_name: Word | None = None
    runtime: Word | None = None
    unit: Word | None = None
    command: Word | None = None
    absent: Absences = {}

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes it the same holder on one node, whatever else is known of it by then.

        A Slurm step with all its tasks; a pod with all its containers; a container; what a unit runs for one user; of
        the unknown, one user's for one reason.
        """
        if self.kind == "slurm":
            return self.kind, self.job or self.sluid, self.step
        if self.kind == "unknown":
            return self.kind, self.uid, self.absent.get("workload") or self.absent.get("processes")
        if self.kind == "unit":
            return self.kind, self.unit, self.uid
        return self.kind, self.pod_uid if self.kind == "kubernetes" else self.container


class Usage(Struct, array_like=True, frozen=True):
    """One holder on one GPU, or on a partition of it, over a part of a report: a usage interval or a piece of one.

    `holder` is its place in `Report.holders`; `begin` and `end` are µs since the epoch on the agent's clock. Of that
    time `observed` ms lie in samples. `active` and `held` are ms of the whole GPU's time that fall to this holder:
    time in which it ran something, and in which it only kept others away. What several have at once is divided
    between them, and a partition's time counts by its share of the GPU, so that a GPU's holders never add up to more
    than the time there was. `memory` and `memory_most` are bytes, mean over `observed` and largest; `activity` is the
    mean share of the time in which its kernels ran, in basis points, None where the driver does not tell; `processes`
    is how many it had at most.
    """

    gpu: PartOf
    partition: PartOf | None
    holder: Annotated[int, Meta(ge=0, lt=MAX_HOLDERS)]
    begin: Moment
    end: Moment
    observed: Small
    active: Small
    held: Small
    memory: Size | None
    memory_most: Size | None
    activity: Share | None
    processes: Small
