"""Finds for the driver's processes the workload that each belongs to, and keeps it while the process lives."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpufleet_agent.backends.backend import GpuProcess, ProcessList
from gpufleet_agent.usage.cgroups import Workload, workload
from gpufleet_agent.usage.holder import GpuUsage, Holder, HolderKind, ProcessUsage
from gpufleet_agent.usage.lives import Lives
from gpufleet_agent.usage.pods import PodNames
from gpufleet_agent.usage.proc import ProcFiles, Unseen
from gpufleet_agent.usage.slurm import accounting, job_of_step
from gpufleet_agent.usage.users import UserNames

NAMESPACE = (
    "the agent is in a PID namespace of its own, so the driver's process ids may be others' here: run it with the "
    "host's (hostPID, --pid=host)"
)
NO_PID = "the driver gives no process id"
NAMELESS = "its control group names no job, pod, container or unit"
IN_POD = "the user ids in a pod are the pod's own"
NUMBERS_ONLY = "user_names is off"
_MOST_PID = 1 << 22
# What was not there yet, such as a name or a log file, is looked for again after this time, s; not of all at once.
_KEEP, _SPREAD = 60, 30


@dataclass(frozen=True, eq=False)
class Known:
    """What does not change while a process lives. `ticks` is when it started."""

    holder: Holder
    ticks: int = -1
    command: str | None = None
    command_line: str | None = None
    started: int | None = None
    absent: dict[str, str] = field(default_factory=dict)
    until: float = 0.0


class Attribution:
    """To be asked once a sample. `root` holds /proc, /sys and /var; command lines only where they are asked for.

    Without `user_names` the host's name service is not asked: users are numbers.
    """

    def __init__(self, root: Path = Path("/"), command_lines: bool = False, user_names: bool = True) -> None:
        self._root, self._command_lines = root, command_lines
        self._proc, self._pods = ProcFiles(root), PodNames(root)
        self._users = UserNames() if user_names else None
        self._namespaced = self._proc.is_namespaced()
        # Of another tree's processes this kernel knows nothing.
        self._lives = Lives() if root == Path("/") else None
        self._known: dict[int, Known] = {}

    def look(self, lists: Sequence[ProcessList]) -> dict[int, Known]:
        """What is known of the processes in these lists by their ids; the object of before where nothing is new."""
        pids = {process.pid for found in lists for process in found.processes}
        if self._lives is not None:
            self._lives.keep(pids)
            self._lives.let_go()
        self._known = {pid: self._look(pid) for pid in pids}
        return self._known

    def attribute(self, lists: Sequence[ProcessList]) -> list[GpuUsage]:
        """Each list with what is known of its processes."""
        seen = self.look(lists)
        return [
            GpuUsage(
                gpu=found.gpu,
                partition=found.partition,
                processes=tuple(_usage(process, seen[process.pid]) for process in found.processes),
                reason=found.reason,
            )
            for found in lists
        ]

    def _look(self, pid: int) -> Known:
        if self._namespaced:
            return _unknown(NAMESPACE)
        if not 0 < pid <= _MOST_PID:
            return _unknown(NO_PID)
        known = self._known.get(pid)
        if known is not None and time.monotonic() >= known.until:
            known = None
        if known is not None and self._lives is not None and pid in self._lives:
            return known
        try:
            if self._lives is not None:
                # Before anything is read: if its id is another's by then, what is held has ended and will be let go.
                self._lives.hold(pid)
            command, ticks = self._proc.stat(pid)
            return known if known is not None and known.ticks == ticks else self._meet(pid, command, ticks)
        except Unseen as unseen:
            return _unknown(str(unseen))

    def _meet(self, pid: int, command: str, ticks: int) -> Known:
        absent: dict[str, str] = {}
        line = None
        if self._command_lines:
            try:
                line = self._proc.command_line(pid)
            except Unseen as unseen:
                absent["command_line"] = str(unseen)
        holder = self._holder(pid)
        until = time.monotonic() + _KEEP + pid % _SPREAD
        return Known(holder, ticks, command, line, self._proc.started(ticks), absent, until)

    def _holder(self, pid: int) -> Holder:
        uid = self._proc.uid(pid)
        absent: dict[str, str] = {}
        try:
            group = workload(self._proc.cgroups(pid))
        except Unseen as unseen:
            group, absent["workload"] = Workload(), str(unseen)
        kind = _kind(group)
        if kind == "unknown":
            absent.setdefault("workload", NAMELESS)
        if group.container is not None and group.owner is not None:
            # A container without root: its processes have ids of the range that the user was given.
            uid = group.owner
        found: dict[str, Any] = {"user": self._user(uid, kind, absent)}
        if kind == "slurm":
            found.update(self._slurm(pid, group, absent))
        if group.pod_uid is not None:
            names, missing = self._pods.names(group.pod_uid, group.container)
            found.update(names)
            absent.update(missing)
        told = {name: getattr(group, name) for name in _FROM_GROUP if name not in found}
        return Holder(kind=kind, uid=uid, absent=absent, **told, **found)

    def _user(self, uid: int, kind: HolderKind, absent: dict[str, str]) -> str | None:
        name, reason = self._user_name(uid, kind)
        if name is None:
            absent["user"] = reason
        return name

    def _user_name(self, uid: int, kind: HolderKind) -> tuple[str | None, str]:
        if kind == "kubernetes":
            return None, IN_POD
        return self._users.name(uid) if self._users is not None else (None, NUMBERS_ONLY)

    def _slurm(self, pid: int, group: Workload, absent: dict[str, str]) -> dict[str, Any]:
        job = group.job
        if job is None and group.step_group is not None:
            job = job_of_step(self._root, self._proc, group.step_group)
        if job is None:
            absent["job"] = "the control group names the job by its SLUID, and its slurmstepd is not to be seen"
        found, missing = accounting(self._proc, pid, job)
        absent.update(missing)
        return {"job": job, **found}


_FROM_GROUP = ("job", "sluid", "step", "task", "pod_uid", "container", "runtime", "unit")


def _kind(group: Workload) -> HolderKind:
    if group.job is not None or group.sluid is not None:
        return "slurm"
    if group.pod_uid is not None:
        return "kubernetes"
    if group.container is not None:
        return "container"
    return "unknown" if group.unit is None else "unit"


def _unknown(reason: str) -> Known:
    return Known(Holder(kind="unknown", absent={"workload": reason}))


def _usage(process: GpuProcess, known: Known) -> ProcessUsage:
    return ProcessUsage(
        pid=process.pid,
        kinds=process.kinds,
        memory=process.memory,
        sm=process.sm,
        command=known.command,
        command_line=known.command_line,
        started=known.started,
        holder=known.holder,
        absent={**process.absent, **known.absent},
    )
