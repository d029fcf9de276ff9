"""Who holds a GPU: processes with memory and activity, each with the workload that it belongs to."""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

HolderKind = Literal["slurm", "kubernetes", "container", "unit", "unknown"]


class Holder(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The workload that a process belongs to; `kind` is the outermost owner of what is filled in below it.

    `container` is the runtime's id, `user` the name of `uid` on this host. `absent` maps each field that belongs to
    this kind and is None to the reason.
    """

    kind: HolderKind
    uid: int | None = None
    user: str | None = None
    job: str | None = None
    sluid: str | None = None
    step: str | None = None
    task: str | None = None
    account: str | None = None
    slurm_partition: str | None = None
    namespace: str | None = None
    pod: str | None = None
    pod_uid: str | None = None
    container: str | None = None
    container_name: str | None = None
    runtime: str | None = None
    unit: str | None = None
    absent: dict[str, str] = {}


class ProcessUsage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A process on one GPU or partition.

    `kinds` are of compute, graphics and mps; `memory` is in bytes, `sm` the percentage of the interval in which its
    kernels ran, `started` µs since the epoch. `absent` as in Holder, without a command line that was not asked for.
    """

    pid: int
    kinds: tuple[str, ...]
    memory: int | None = None
    sm: float | None = None
    command: str | None = None
    command_line: str | None = None
    started: int | None = None
    holder: Holder
    absent: dict[str, str] = {}


class GpuUsage(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The processes on one GPU, or on one of its partitions; `reason` says why they are not known, if they are not."""

    gpu: str
    partition: str | None = None
    processes: tuple[ProcessUsage, ...] = ()
    reason: str | None = None
