"""Real processes in real control groups, found by their ids as the driver lists them."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from gpufleet_agent.backends.backend import GpuProcess, ProcessList
from gpufleet_agent.usage.attribution import Attribution
from gpufleet_agent.usage.holder import Holder
from gpufleet_agent.usage.proc import ProcFiles

from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Scenario, a100_mig, h100_sxm

_CONTAINER = "0123456789abcdef" * 4
JOB = "slurmstepd.scope/job_4711/step_0/user/task_1"
_POD = f"kubepods-pod8ca306fa_3c03_47fa_97dd_19979c345572.slice/cri-containerd-{_CONTAINER}.scope"
SLURM = {"SLURM_JOB_ID": "4711", "SLURM_JOB_ACCOUNT": "physics", "SLURM_JOB_PARTITION": "gpu"}

needs_own_namespace = pytest.mark.skipif(ProcFiles().is_namespaced(), reason="needs the machine's own PID namespace")
pytestmark = needs_own_namespace


def mounts(kind: str) -> list[Path]:
    """Where control groups of a version (cgroup, cgroup2) are mounted, systemd's own and process counts first."""
    lines = (line.split() for line in Path("/proc/mounts").read_text().splitlines())
    found = [Path(line[1]) for line in lines if line[2] == kind]
    return sorted(found, key=lambda path: path.name not in ("systemd", "pids", "freezer"))


@contextmanager
def running(kind: str, path: str, **variables: str) -> Iterator[int]:
    """The id of a process in a new group of this name; the test is skipped where there can be none."""
    group = next(iter(mounts(kind)), Path("/nowhere")) / f"gpufleet-{secrets.token_hex(4)}" / path
    process = subprocess.Popen(["sleep", "60"], env=os.environ | variables)
    try:
        group.mkdir(parents=True)
        (group / "cgroup.procs").write_text(str(process.pid))
        yield process.pid
    except OSError as error:
        pytest.skip(f"no {kind} group can be made here: {error}")
    finally:
        process.kill()
        process.wait()
        for folder in (group, *group.parents):
            with suppress(OSError):
                folder.rmdir()
            if folder.name.startswith("gpufleet-"):
                break


def held(pid: int) -> Holder:
    """The holder of a process on this machine."""
    lists = [ProcessList("GPU-0", None, (GpuProcess(pid, ("compute",), None, None, {}),))]
    return Attribution().attribute(lists)[0].processes[0].holder


@pytest.mark.parametrize("kind", ["cgroup2", "cgroup"])
def test_a_slurm_task(kind: str) -> None:
    """Its job from the group it is in, its account from the environment it was started with."""
    with running(kind, JOB, **SLURM) as pid:
        holder = held(pid)
    assert (holder.kind, holder.job, holder.step, holder.task) == ("slurm", "4711", "0", "1")
    assert (holder.account, holder.slurm_partition, holder.uid) == ("physics", "gpu", os.getuid())


@pytest.mark.parametrize("kind", ["cgroup2", "cgroup"])
def test_a_container_of_a_pod(kind: str) -> None:
    """Pod and container; this machine has no names for them and says so."""
    with running(kind, _POD) as pid:
        holder = held(pid)
    assert (holder.kind, holder.container, holder.runtime) == ("kubernetes", _CONTAINER, "containerd")
    assert holder.pod_uid == "8ca306fa-3c03-47fa-97dd-19979c345572"
    assert {"namespace", "pod", "user"} <= holder.absent.keys()


def test_from_the_driver_to_the_holder(tmp_path: Path) -> None:
    """`once` on the simulated driver, which lists this test's own processes on a GPU and on a partition."""
    with running("cgroup2", JOB, **SLURM) as job, running("cgroup2", f"docker-{_CONTAINER}.scope") as container:
        whole, cut = h100_sxm(0).process(job, "train", used=5 << 30, sm=71), a100_mig(1)
        cut.instances[2].process(container, "infer", gi=5, ci=0, used=33 << 20)
        file = Scenario([whole, cut]).write(tmp_path / "s")
        plain, shown = once(file, tmp_path), json.loads(once(file, tmp_path, "--json"))
    (on_gpu,) = shown["gpus"][0]["usage"]
    (task,) = on_gpu["processes"]
    assert (task["memory"], task["sm"], task["command"], task["command_line"]) == (5 << 30, 71, "sleep", None)
    assert (task["holder"]["job"], task["holder"]["account"]) == ("4711", "physics")
    by_partition: dict[str, Any] = {one["partition"]: one["processes"] for one in shown["gpus"][1]["usage"]}
    (infer,) = by_partition.pop(str(cut.instances[2].values["uuid"]))
    assert (infer["holder"]["runtime"], infer["holder"]["container"]) == ("docker", _CONTAINER)
    assert (infer["sm"], infer["absent"]) == (None, {"sm": "unsupported"})
    assert list(by_partition.values()) == [[]] * 4
    assert "Slurm job 4711 step 0 task 1 (account physics, partition gpu)" in plain
    assert f"docker {_CONTAINER[:12]} on {cut.instances[2].values['uuid']}" in plain


def once(driver: Path, folder: Path, *flags: str) -> str:
    """What `gpufleet-agent once` prints."""
    command = [sys.executable, "-m", "gpufleet_agent", "once", "--state-dir", str(folder / "state"), *flags]
    return subprocess.run(command, env=environment(driver), capture_output=True, text=True, check=True).stdout
