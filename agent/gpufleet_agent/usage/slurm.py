"""What a node tells of a Slurm job beyond the name of its control group."""

from __future__ import annotations

import re
from pathlib import Path

from gpufleet_agent.usage.proc import ProcFiles, Unseen

_VARIABLES = {"account": "SLURM_JOB_ACCOUNT", "slurm_partition": "SLURM_JOB_PARTITION"}
_JOB = "SLURM_JOB_ID"
_WANTED = frozenset({_JOB, *_VARIABLES.values()})
_TITLE = re.compile(r"'?slurmstepd: \[([0-9]+)[.+]")
_MOUNTS = ("sys/fs/cgroup", "sys/fs/cgroup/unified")


def job_of_step(root: Path, proc: ProcFiles, step_group: str) -> str | None:
    """The job of a step whose group has only the SLUID: its slurmstepd, which is root's, bears the job in its title."""
    for mount in _MOUNTS:
        try:
            pids = (root / mount / step_group.lstrip("/") / "slurm/cgroup.procs").read_text().split()
        except OSError:
            continue
        for pid in filter(str.isdecimal, pids):
            title = _title(proc, int(pid))
            if title:
                return title[1]
    return None


def accounting(proc: ProcFiles, pid: int, job: str | None) -> tuple[dict[str, str], dict[str, str]]:
    """Account and partition as Slurm gave them to the process, and a reason for each that is absent.

    A user can alter them. What does not name the job that the control group names is another job's, and left out.
    """
    try:
        variables = proc.environment(pid, _WANTED)
    except Unseen as unseen:
        return {}, dict.fromkeys(_VARIABLES, str(unseen))
    if _JOB not in variables:
        return {}, dict.fromkeys(_VARIABLES, f"{_JOB} is not in its environment")
    if job is None or variables[_JOB] != job:
        return {}, dict.fromkeys(_VARIABLES, f"{_JOB} in its environment is not this job")
    found = {field: variables[name] for field, name in _VARIABLES.items() if variables.get(name)}
    missing = {field: f"{name} is not in its environment" for field, name in _VARIABLES.items() if field not in found}
    return found, missing


def _title(proc: ProcFiles, pid: int) -> re.Match[str] | None:
    try:
        return _TITLE.match(proc.command_line(pid))
    except Unseen:
        return None
