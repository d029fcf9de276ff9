"""What runtimes wrote when they were run for this: `/proc/PID/cgroup` of real processes, copied as it stood.

Recorded on 2026-11-22 on one machine, Debian 12 with Linux 6.18, with the versions that Debian ships. It has the
hierarchies of cgroup v1 and, beside them, a v2 one without controllers; hence ten lines each. Those of v2 ran under a
systemd 252 and in namespaces of their own, whose host was named node1. What that took:

* Slurm 22.05 refuses v2 beside v1. slurmd and slurmstepd were shown the v2 line alone when they read a cgroup file; the
  groups are theirs. Without controllers they make no groups of tasks (`task_special`); with v1's they do.
* containerd asks for cpu and memory limits, which no v2 controller was there to keep: these were left out of what runc
  got. containerd's CRI got its requests from a client that gave the `cgroup_parent` that kubelet gives.
* crun ran under v1 only: under v2 it raises RLIMIT_MEMLOCK, which this machine forbids root.

Not run, since Debian 12 has no package and no registry of images was in reach: kubelet, CRI-O, nerdctl, k3s, kind. Nor
Slurm from 26.05 on, or systemd under v1. For these see recorded.py.
"""

from __future__ import annotations

from gpufleet_agent.usage.cgroups import Workload

from tests.agent.usage.recorded import Recorded

_SYSTEMD = "systemd 252.39"
_DOCKER = "Docker 20.10.24, runc 1.1.5"
_PODMAN = "Podman 4.3.1, runc 1.1.5"
_CRI = "containerd 1.6.20 (CRI), runc 1.1.5"
_SLURM = "Slurm 22.05.8, proctrack/cgroup and task/cgroup"
_V1 = ("name=systemd", "pids", "blkio", "freezer", "devices", "memory", "cpuset", "cpuacct", "cpu")


def legacy(path: str, below: str = "/", **others: str) -> str:
    """The hierarchies of v1 at a path, save those named with another; the v2 one at `below`."""
    lines = enumerate(_V1[::-1], start=1)
    v1 = [f"{number}:{name}:{others.get(name.removeprefix('name='), path)}\n" for number, name in lines]
    return "".join(v1[::-1]) + f"0::{below}\n"


def unified(path: str) -> str:
    """In the v2 hierarchy at a path, at the root of those of v1."""
    return legacy("/", path)


def _slurm_v1(step: str, task: str = "") -> str:
    """Debian builds Slurm for several slurmd on a node, so its name is in the group's."""
    group = f"/slurm_node1/uid_0/job_1/{step}"
    return legacy("/", devices=group + task, memory=group + task, cpuset=group, freezer=group)


_STEPD = "/system.slice/node1_slurmstepd.scope"
_POD = "8ca306fa-3c03-47fa-97dd-19979c345572"
_POD_GROUP = _POD.replace("-", "_")
_USER = "/user.slice/user-1000.slice/user@1000.service"

SLURM = (
    Recorded(
        "here: Slurm v1, a task of srun",
        _SLURM,
        _slurm_v1("step_0", "/task_1"),
        Workload(job="1", step="0", task="1"),
    ),
    Recorded(
        "here: Slurm v1, what a batch script started",
        _SLURM,
        _slurm_v1("step_batch", "/task_0"),
        Workload(job="1", step="batch", task="0"),
    ),
    Recorded("here: Slurm v1, extern", _SLURM, _slurm_v1("step_extern"), Workload(job="1", step="extern")),
    Recorded(
        "here: Slurm v1, slurmstepd itself, above its step in one hierarchy",
        _SLURM,
        _slurm_v1("step_0").replace("freezer:/slurm_node1/uid_0/job_1/step_0", "freezer:/slurm_node1/uid_0/job_1"),
        Workload(job="1", step="0"),
    ),
    Recorded(
        "here: Slurm v2, a task of srun",
        _SLURM,
        unified(f"{_STEPD}/job_3/step_0/user/task_special"),
        Workload(job="3", step="0"),
    ),
    Recorded(
        "here: Slurm v2, a batch script of an array",
        _SLURM,
        unified(f"{_STEPD}/job_3/step_batch/user/task_special"),
        Workload(job="3", step="batch"),
    ),
    Recorded(
        "here: Slurm v2, extern",
        _SLURM,
        unified(f"{_STEPD}/job_3/step_extern/user/task_special"),
        Workload(job="3", step="extern"),
    ),
    Recorded(
        "here: Slurm v2, a step's slurmstepd",
        _SLURM,
        unified(f"{_STEPD}/job_3/step_0/slurm"),
        Workload(job="3", step="0"),
    ),
    Recorded(
        "here: Slurm v2, slurmstepd of no job",
        _SLURM,
        unified(f"{_STEPD}/system"),
        Workload(unit="node1_slurmstepd.scope"),
    ),
)
# What slurmd gave the processes of these, without accounting; names whose values tell of the machine are left out.
TASK_ENVIRONMENT = {
    "SLURM_CLUSTER_NAME": "trial", "SLURM_JOBID": "3", "SLURM_JOB_ID": "3", "SLURM_JOB_PARTITION": "gpu",
    "SLURM_ARRAY_JOB_ID": "3", "SLURM_ARRAY_TASK_ID": "3", "SLURM_JOB_UID": "0", "SLURM_STEP_ID": "0",
    "SLURM_STEPID": "0", "SLURM_PROCID": "1",
}  # fmt: skip
EXTERN_ENVIRONMENT = {"SLURMD_NODENAME": "node1"}

_BEST_EFFORT = "eaa2b2072b5587d8c4975eaee4186a0884232c0dd527568278b18550500e7884"
_GUARANTEED = "da460affb621701300c785164341a0af7cbbbae089543226263f0fd906a35b1f"
_BURSTABLE = "7468cbfd78ab1b393a21ddf17063a91585bf73e106b332ad7a03b0086c7c8989"
_MIXED = "451738d4abbd2bcce6d74f4f825cd37d3b431da0768a1942d07855c0b3893418"

KUBERNETES = (
    Recorded(
        "here: containerd's CRI, systemd driver, best effort",
        _CRI,
        unified(
            f"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{_POD_GROUP}.slice/"
            f"cri-containerd-{_BEST_EFFORT}.scope"
        ),
        Workload(pod_uid=_POD, container=_BEST_EFFORT, runtime="containerd"),
    ),
    Recorded(
        "here: containerd's CRI, systemd driver, guaranteed",
        _CRI,
        unified(f"/kubepods.slice/kubepods-pod{_POD_GROUP}.slice/cri-containerd-{_GUARANTEED}.scope"),
        Workload(pod_uid=_POD, container=_GUARANTEED, runtime="containerd"),
    ),
    Recorded(
        "here: containerd's CRI, cgroupfs driver",
        _CRI,
        unified(f"/kubepods/burstable/pod{_POD}/{_BURSTABLE}"),
        Workload(pod_uid=_POD, container=_BURSTABLE),
    ),
    Recorded(
        "here: containerd's CRI, kubelet with another driver than the runtime",
        _CRI,
        unified(f"/system.slice/kubepods-burstable-pod{_POD_GROUP}.slice:cri-containerd:{_MIXED}"),
        Workload(pod_uid=_POD, container=_MIXED, runtime="containerd"),
    ),
)

_IN_SLICE = "7ffaadad81a7f6dea66b6374b760c7e8b8d00c111b28e9c22ed2071d4387513c"
_SCOPE = "20a693d790228dcbef1e62c2bcc0ad267c662c99c26189e501bf07ae833e1148"
_PLAIN = "e2bd1c31ecd2cb22efd69f492ee856fe7f6395b4506330f46dd10281b23a5584"
_IN_FOLDER = "339d0bced487f890bb388636be1d514a70b91596db13be92002f42544f3caa54"
_DOCKER_V1 = "d405f4b222db5a8938b4ad0519556d25b959b401b8873c2b225a155e4f9fdc4f"
_IN_JOB = "d6b968d5f89699321b49e465bca244b9392fcc8a8a7b7fe3ddf9d76caa3d8d0d"
_CRUN = "192173c570c473a988db651a136fd830d53f8118b796ac9cbab7230b92f25cca"
_AS_ROOT = "e66b65d4a9ea2d17b2fcec93630c97a9cce74d2bcfc55d07b2387792f30d0872"
_SPLIT = "7b2f1554bd0734f5de359d837f7eb43f8e3df1d3b4191cfa7cc0c90ad669918f"
_OF_POD = "4d5d7e6bd0600cd7f0ed0521e75ba46f3627bea0a2fc62396d317ce34d95f3bb"
_PODMAN_POD = "435e23931317896a35aa7a193b031f4187aaaede549672f5644d35f736ad1eca"
_ROOTLESS = "8ff2cb808f7bf988431b0c511c25feef2f8f1eeb649dc2acf0c3b77566e97568"
_ROOTLESS_PLAIN = "6f305f09d86daea87edf5e4550c3d54bfc44081c6b155014e3bfff18f0b395ae"

DOCKER = (
    Recorded(
        "here: Docker v2, systemd driver",
        _DOCKER,
        unified(f"/system.slice/docker-{_SCOPE}.scope"),
        Workload(container=_SCOPE, runtime="docker"),
    ),
    Recorded(
        "here: Docker v2, --cgroup-parent=ml.slice, what docker exec started",
        _DOCKER,
        unified(f"/ml.slice/docker-{_IN_SLICE}.scope"),
        Workload(container=_IN_SLICE, runtime="docker"),
    ),
    Recorded(
        "here: Docker v2, cgroupfs driver",
        _DOCKER,
        unified(f"/docker/{_PLAIN}"),
        Workload(container=_PLAIN, runtime="docker"),
    ),
    Recorded(
        "here: Docker v2, cgroupfs driver, --cgroup-parent: by whom is not told",
        _DOCKER,
        unified(f"/ml/team/{_IN_FOLDER}"),
        Workload(container=_IN_FOLDER),
    ),
    Recorded(
        "here: Docker v1", _DOCKER, legacy(f"/docker/{_DOCKER_V1}"), Workload(container=_DOCKER_V1, runtime="docker")
    ),
    Recorded(
        "here: Docker v1, --cgroup-parent is a job's group",
        _DOCKER,
        legacy(f"/slurm/uid_0/job_9/{_IN_JOB}"),
        Workload(job="9", container=_IN_JOB),
    ),
)

PODMAN = (
    Recorded(
        "here: Podman v2 as root",
        _PODMAN,
        unified(f"/machine.slice/libpod-{_AS_ROOT}.scope"),
        Workload(container=_AS_ROOT, runtime="podman"),
    ),
    Recorded(
        "here: Podman v2, a pod of Podman's: the container",
        _PODMAN,
        unified(f"/machine.slice/machine-libpod_pod_{_PODMAN_POD}.slice/libpod-{_OF_POD}.scope"),
        Workload(container=_OF_POD, runtime="podman"),
    ),
    Recorded(
        "here: Podman v2, --cgroups=split in a service, as Quadlet has it",
        _PODMAN,
        unified(f"/system.slice/pm4.service/libpod-payload-{_SPLIT}"),
        Workload(container=_SPLIT, runtime="podman"),
    ),
    Recorded(
        "here: Podman v2, the monitor of that",
        _PODMAN,
        unified("/system.slice/pm4.service/runtime"),
        Workload(unit="pm4.service"),
    ),
    Recorded(
        "here: Podman v2 without root",
        _PODMAN,
        unified(f"{_USER}/user.slice/libpod-{_ROOTLESS}.scope"),
        Workload(container=_ROOTLESS, runtime="podman", owner=1000),
    ),
    Recorded(
        "here: Podman v2 without root, cgroupfs: by whom is not told",
        _PODMAN,
        unified(f"{_USER}/user.slice/{_ROOTLESS_PLAIN}"),
        Workload(container=_ROOTLESS_PLAIN, owner=1000),
    ),
    Recorded(
        "here: Podman v1, cgroupfs",
        "Podman 4.3.1, crun 1.8.1",
        legacy(f"/libpod_parent/libpod-{_CRUN}"),
        Workload(container=_CRUN, runtime="podman"),
    ),
    Recorded(
        "here: Podman v1, the monitors of all",
        "Podman 4.3.1, conmon 2.1.6",
        legacy("/libpod_parent/conmon", systemd="/"),
        Workload(),
    ),
)

OTHERS = (
    Recorded("here: LXC v2", "LXC 5.0.2", unified("/lxc.payload.web01"), Workload(container="web01", runtime="lxc")),
    Recorded("here: LXC v2, the monitor", "LXC 5.0.2", unified("/lxc.monitor.web01"), Workload()),
    Recorded(
        "here: containerd without Kubernetes: `ctr -n k8s.io run IMAGE two`, any name, nothing to know it by",
        "containerd 1.6.20 (ctr), runc 1.1.5",
        legacy("/k8s.io/two2"),
        Workload(),
    ),
)

UNITS = (
    Recorded("here: a service", _SYSTEMD, unified("/system.slice/train.service"), Workload(unit="train.service")),
    Recorded("here: a scope", _SYSTEMD, unified("/system.slice/train2.scope"), Workload(unit="train2.scope")),
    Recorded(
        "here: an instance, in a slice of its own",
        _SYSTEMD,
        unified("/ml.slice/ml-gpu.slice/jupyter@gpu-0.service"),
        Workload(unit="jupyter@gpu-0.service"),
    ),
    Recorded(
        "here: below a service with Delegate=yes",
        _SYSTEMD,
        unified("/system.slice/deleg.service/worker"),
        Workload(unit="deleg.service"),
    ),
    Recorded(
        "here: a name with a blank, as systemd writes it",
        _SYSTEMD,
        unified(r"/system.slice/we\x20ird.service"),
        Workload(unit=r"we\x20ird.service"),
    ),
    Recorded(
        "here: a user's service",
        _SYSTEMD,
        unified(f"{_USER}/app.slice/nb.service"),
        Workload(unit="nb.service", owner=1000),
    ),
    Recorded(
        "here: systemd-run --user --scope",
        _SYSTEMD,
        unified(f"{_USER}/app.slice/run-r50f6c42f06044374ba2f4d3491fb076a.scope"),
        Workload(unit="run-r50f6c42f06044374ba2f4d3491fb076a.scope", owner=1000),
    ),
    Recorded(
        "here: a user's manager", _SYSTEMD, unified(f"{_USER}/init.scope"), Workload(unit="init.scope", owner=1000)
    ),
    Recorded(
        "here: a login through pam_systemd",
        _SYSTEMD,
        unified("/user.slice/user-1000.slice/session-c1.scope"),
        Workload(unit="session-c1.scope", owner=1000),
    ),
    Recorded("here: systemd itself", _SYSTEMD, unified("/init.scope"), Workload(unit="init.scope")),
)

TRIALS = (*SLURM, *KUBERNETES, *DOCKER, *PODMAN, *OTHERS, *UNITS)
