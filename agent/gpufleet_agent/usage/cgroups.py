"""From the control groups of a process to its workload: Slurm step, Kubernetes pod, container, systemd unit. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

_UUID = r"[0-9a-f]{8}(?:[_-][0-9a-f]{4}){3}[_-][0-9a-f]{12}"
# Kubelet with the systemd driver, also below a root group of its own; and with the cgroupfs driver. A static pod's UID
# is a hash without dashes.
_POD = re.compile(
    rf"(?:(?:.+-)?kubepods(?:-burstable|-besteffort)?-pod({_UUID}|[0-9a-f]{{32}})\.slice|pod({_UUID}|[0-9a-f]{{32}}))"
)
# The path form of a systemd unit that runc was given as a plain path.
_COLONS = re.compile(r"(.+\.slice):([a-z-]+):([0-9a-f]{64})")
_RUNTIMES = {
    "docker": "docker",
    "cri-containerd": "containerd",
    "nerdctl": "containerd",
    "crio": "cri-o",
    "libpod": "podman",
    "libpod-payload": "podman",
}
# The processes that watch over a container (`libpod-conmon-…`) are none of it and do not match.
_CONTAINER = re.compile(rf"(?:({'|'.join(_RUNTIMES)})-)?([0-9a-f]{{64}})(?:\.scope)?")
_LXC = re.compile(r"lxc\.payload\.(.+)")
_SLURM = re.compile(r"slurm|slurm_.+|(?:.+_)?slurmstepd\.scope")
_JOB = re.compile(r"job_([0-9]+)")
# Slurm's sortable unique id, which names the groups of jobs from Slurm 26.05 on.
_SLUID = re.compile(r"s[0-9A-HJKMNP-TV-Z]{13}")
_STEP = re.compile(r"step_([\w.+-]+)")
_TASK = re.compile(r"task_([0-9]+)")
_USER_SLICE = re.compile(r"user-([0-9]{1,10})\.slice")
_DELETED = " (deleted)"


@dataclass(frozen=True)
class Workload:
    """What the name of a control group tells; None is what it does not.

    `step_group` is the path of a Slurm step's group where it names the job by its SLUID only; `owner` the user id whose
    slice a group is in.
    """

    job: str | None = None
    sluid: str | None = None
    step: str | None = None
    task: str | None = None
    step_group: str | None = None
    pod_uid: str | None = None
    runtime: str | None = None
    container: str | None = None
    unit: str | None = None
    owner: int | None = None


def workload(text: str) -> Workload:
    """What `/proc/PID/cgroup` tells, of cgroup v1 (a line a hierarchy), v2 or both."""
    paths = dict.fromkeys(line.split(":", 2)[2] for line in text.splitlines() if line.count(":") >= 2)
    return max(map(of_path, paths), key=_told, default=Workload())


def of_path(path: str) -> Workload:
    """What one group's path tells.

    Below a user's slice only containers count: that user can make groups of any name there. Of containers within each
    other the outermost counts, which is the one that this host knows, or the first one in a pod.
    """
    parts = list(_parts(path.removesuffix(_DELETED)))
    owner = _first(parts, _USER_SLICE)
    told: dict[str, Any] = {}
    inside = 0
    if owner is None:
        inside, told = _pod(parts)
        told.update(_slurm(parts))
    told.update(_container(parts, inside))
    if not told:
        told["unit"] = next((part for part in reversed(parts) if part.endswith((".service", ".scope"))), None)
    return Workload(**told, owner=None if owner is None else int(owner))


def _told(workload: Workload) -> tuple[bool, bool, bool, int]:
    """The more a line tells of what matters most, the better."""
    names = [field.name for field in fields(Workload) if getattr(workload, field.name) is not None]
    return "job" in names or "sluid" in names, "pod_uid" in names, "container" in names, len(names)


def _parts(path: str) -> Iterator[str]:
    for part in path.split("/"):
        colons = _COLONS.fullmatch(part)
        if colons:
            yield colons[1]
            yield f"{colons[2]}-{colons[3]}.scope"
        elif part and part != "..":
            yield part


def _slurm(parts: Sequence[str]) -> dict[str, Any]:
    """cgroup v1: slurm[_node]/uid_U/job_J/step_S/task_T; v2: […_]slurmstepd.scope/{job_J|SLUID}/step_S/user/task_T."""
    anchor = next((at for at, part in enumerate(parts) if _SLURM.fullmatch(part)), None)
    if anchor is None:
        return {}
    below = parts[anchor + 1 :]
    first = partial(_first, below)
    job, step, task = first(_JOB), first(_STEP), first(_TASK)
    sluid = below[0] if job is None and below and _SLUID.fullmatch(below[0]) else None
    if job is None and sluid is None:
        return {}
    step_group = "/".join(("", *parts[: anchor + 2], f"step_{step}")) if sluid and step else None
    return {"job": job, "sluid": sluid, "step": step, "task": task, "step_group": step_group}


def _first(parts: Sequence[str], pattern: re.Pattern[str]) -> str | None:
    return next((found[1] for part in parts if (found := pattern.fullmatch(part))), None)


def _pod(parts: Sequence[str]) -> tuple[int, dict[str, Any]]:
    """The place after the pod's group, and the pod's UID as Kubernetes writes it."""
    for at, part in enumerate(parts):
        found = _POD.fullmatch(part)
        if found:
            return at + 1, {"pod_uid": (found[1] or found[2]).replace("_", "-")}
    return 0, {}


def _container(parts: Sequence[str], start: int) -> dict[str, Any]:
    for before, part in zip(["", *parts][start:], parts[start:], strict=False):
        found = _CONTAINER.fullmatch(part)
        if found:
            runtime = _RUNTIMES.get(found[1] or before)
            return {"container": found[2], "runtime": runtime}
        lxc = _LXC.fullmatch(part)
        if lxc or before in ("lxc", "lxc.payload"):
            return {"container": lxc[1] if lxc else part, "runtime": "lxc"}
    return {}
