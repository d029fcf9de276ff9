"""What `/proc/PID/cgroup` holds on nodes, by runtime: recorded by the project named, else after its documentation.

What was run and recorded for this project is in trials.py.
"""

from __future__ import annotations

from typing import NamedTuple

from gpufleet_agent.usage.cgroups import Workload


class Recorded(NamedTuple):
    """The text, where it is from, and the workload that it names."""

    name: str
    source: str
    text: str
    workload: Workload


# The hierarchies of cgroup v1 as a RHEL 8 kernel numbers them.
_HIERARCHIES = (
    "12:devices", "11:pids", "10:freezer", "9:cpuset", "8:cpu,cpuacct", "7:hugetlb", "6:rdma", "5:perf_event",
    "4:blkio", "3:memory", "2:net_cls,net_prio", "1:name=systemd",
)  # fmt: skip


def v1(path: str, **others: str) -> str:
    """Every hierarchy at this path, save those that are named with another; numbered alike, whoever recorded it."""
    lines = ((line, line.partition(":")[2].partition(",")[0].removeprefix("name=")) for line in _HIERARCHIES)
    return "".join(f"{line}:{others.get(name, path)}\n" for line, name in lines)


def v2(path: str) -> str:
    """The one line of cgroup v2."""
    return f"0::{path}\n"


_NEUVECTOR = "neuvector/neuvector, share/system/cgroup_test.go"
_SPIRE = "spiffe/spire, pkg/agent/plugin/workloadattestor/k8s"
_DOCUMENTED = "slurm.schedmd.com/cgroup_v2.html and cgroup.conf.html"
_SONAR = "NordicHPC/sonar, a Fox compute node"
_DOCKER = "9ec39b91f3d70e1beff50a308f77067065ea6be0d91a3378375056cd4422cf3d"
_DEBIAN = "4f797c539e6c745de61a93ca3ff892358ecbcaccd8414d5db545c38428142970"
_UBUNTU = "31cb02944da7a12196a193cf0e0f6c226d7c453a1db62e65ba98287593a2ee30"
_CRIO = "d6d725b909f37c3e232aadfbafa950a58bfe7baa579ba8c47a12be88bb921607"
_STATIC = "7a1fd6fe8cdfbd44dc78c4cc85dad7031eaab4365801684cad0aabdeaf863f9e"
_CONTAINERD = "f45298cd514d1930c4fe3afc4412e59547f7e3148fddd22ca33cefce046eb830"
_CGROUPFS = "5dd96d5394ca930a854a390ea46f7515a8bc930123eb3251ba20f2708a38fc61"
_COLONS = "d3d8ccf5cca91931c6285c1d7472c413dd5a7700fddc0aa9f89a9ac7008b003e"
_KIND = "66221e7d988e193822a3e8368b61ad9aeabf6b5276df76daebb7ea33bccc0b87"
_IN_DOCKER = "aff34703e5e1f89443e9a1bffcc80f43f74d4808a2dd22c8f88c08547b323934"
_NAMESPACED = "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961"
_PROXY = "c04e0a88a1de067f25bece337d4dbb897396e0b623c2a65330850fc9823f1903"
_KUBEEDGE = "45490e76e0878aaa4d9808f7d2eefba37f093c3efbba9838b6d8ab804d9bd814"
_OUTER = "a9a5ad238e59234193ee7ec3fcff5e735b3708ea1068826952255b69e3cfa413"
_INNER = "ec08435e04266c5ba381fccbb829f626d11d8ddf5f8f547263c7a2d79ab4787a"
_PODMAN = "b6e375cfe46efa5cd90d095603dec2de888c28b203285819233040b5cf1212ac"
_ROOTLESS = "132ff0d72245e6f13a3bbc6cdc5376886897b60ac59eaa8dea1df7ab959cbf1c"
_BEST_EFFORT = "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod"

SLURM = (
    Recorded(
        "cgroup v2",
        _SONAR,
        v2("/system.slice/slurmstepd.scope/job_1392969/step_0/user/task_0"),
        Workload(job="1392969", step="0", task="0"),
    ),
    Recorded(
        "cgroup v1, interactive",
        _SONAR,
        "10:devices:/slurm/uid_2101171/job_280678/step_interactive/task_0\n",
        Workload(job="280678", step="interactive", task="0"),
    ),
    Recorded(
        "cgroup v1, hierarchies of different depth",
        "treydock/cgroup_exporter, test/memory and test/cpuset",
        v1(
            "/system.slice/slurmd.service",
            cpuset="/slurm/uid_20821/job_10/step_batch",
            memory="/slurm/uid_20821/job_10/step_batch/task_0",
        ),
        Workload(job="10", step="batch", task="0"),
    ),
    Recorded(
        "several slurmd on a node, v1",
        "plazonic/cgroup_exporter, pull request 5",
        "4:memory:/slurm_node17/uid_1000/job_77/step_extern/task_0\n",
        Workload(job="77", step="extern", task="0"),
    ),
    Recorded(
        "several slurmd on a node, v2, a task that Slurm adopted",
        "cedana/cedana, Slurm restore",
        v2("/system.slice/cn1_slurmstepd.scope/job_42/step_batch/user/task_special"),
        Workload(job="42", step="batch"),
    ),
    Recorded(
        "from 26.05 on: the SLUID",
        _DOCUMENTED,
        v2("/system.slice/slurmstepd.scope/sEKNKTV3WPV500/step_0/user/task_0"),
        Workload(
            sluid="sEKNKTV3WPV500",
            step="0",
            task="0",
            step_group="/system.slice/slurmstepd.scope/sEKNKTV3WPV500/step_0",
        ),
    ),
    Recorded(
        "slurmstepd itself, of no job",
        "treydock/cgroup_exporter, collector/cgroupv2_test.go",
        v2("/system.slice/slurmstepd.scope/system"),
        Workload(unit="slurmstepd.scope"),
    ),
)

KUBERNETES = (
    Recorded(
        "CRI-O 1.19, systemd driver, best effort",
        _NEUVECTOR,
        v1(f"{_BEST_EFFORT}8ca306fa_3c03_47fa_97dd_19979c345572.slice/crio-{_CRIO}.scope", rdma="/"),
        Workload(pod_uid="8ca306fa-3c03-47fa-97dd-19979c345572", container=_CRIO, runtime="cri-o"),
    ),
    Recorded(
        "CRI-O 1.17, a static pod",
        _NEUVECTOR,
        v1(
            "/kubepods.slice/kubepods-burstable.slice/"
            f"kubepods-burstable-pod487a0dc6dccaeefbcfedba7a7ce1ca18.slice/crio-{_STATIC}.scope",
            rdma="/",
        ),
        Workload(pod_uid="487a0dc6dccaeefbcfedba7a7ce1ca18", container=_STATIC, runtime="cri-o"),
    ),
    Recorded(
        "containerd on Bottlerocket",
        _NEUVECTOR,
        v1(f"{_BEST_EFFORT}dd1bf9d1_241d_47f5_8e25_12de83135812.slice/cri-containerd-{_CONTAINERD}.scope"),
        Workload(pod_uid="dd1bf9d1-241d-47f5-8e25-12de83135812", container=_CONTAINERD, runtime="containerd"),
    ),
    Recorded(
        "containerd 1.2, cgroupfs driver",
        _NEUVECTOR,
        v1(f"/kubepods/besteffort/poda36d0c1d-0b26-4451-8d80-9c195e004afa/{_CGROUPFS}"),
        Workload(pod_uid="a36d0c1d-0b26-4451-8d80-9c195e004afa", container=_CGROUPFS),
    ),
    Recorded(
        "containerd 1.4, a unit's name taken for a path",
        _NEUVECTOR,
        v1(
            "/system.slice/containerd.service/"
            f"kubepods-besteffort-pod2105e389_7471_476e_a50f_6074cef29bbd.slice:cri-containerd:{_COLONS}"
        ),
        Workload(pod_uid="2105e389-7471-476e-a50f-6074cef29bbd", container=_COLONS, runtime="containerd"),
    ),
    Recorded(
        "dockershim, systemd driver, guaranteed, UID with dashes",
        _SPIRE,
        v1(
            "/kubepods.slice/kubepods-pod2c48913c-b29f-11e7-9350-020968147796.slice/docker-"
            "9bca8d63d5fa610783847915bcff0ecac1273e5b4bed3f6fa1b07350e0135961.scope"
        ),
        Workload(pod_uid="2c48913c-b29f-11e7-9350-020968147796", container=_NAMESPACED, runtime="docker"),
    ),
    Recorded(
        "a group below the container's",
        _NEUVECTOR,
        v1(f"/kubepods/besteffort/podf8a694f2-7c08-11e9-98da-000c29077430/{_PROXY}/kube-proxy"),
        Workload(pod_uid="f8a694f2-7c08-11e9-98da-000c29077430", container=_PROXY),
    ),
    Recorded(
        "kind: kubelet below a slice of its own, v2",
        "kind on cgroup v2, quoted in public code",
        v2(
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod"
            f"18640755_cc12_4557_b96e_0f74d5b44d1d.slice/cri-containerd-{_KIND}.scope"
        ),
        Workload(pod_uid="18640755-cc12-4557-b96e-0f74d5b44d1d", container=_KIND, runtime="containerd"),
    ),
    Recorded(
        "kind in Docker: the pod's container, not the node's",
        _SPIRE,
        v1(
            "/docker/8d461fa5765781bcf5f7eb192f101bc3103d4b932e26236f43feecfa20664f96/kubepods/besteffort/"
            f"poddaa5c7ee-3484-4533-af39-3591564fd03e/{_IN_DOCKER}"
        ),
        Workload(pod_uid="daa5c7ee-3484-4533-af39-3591564fd03e", container=_IN_DOCKER),
    ),
    Recorded(
        "seen from a cgroup namespace",
        _SPIRE,
        v1(f"/../../pod2c48913c-b29f-11e7-9350-020968147796/{_NAMESPACED}"),
        Workload(pod_uid="2c48913c-b29f-11e7-9350-020968147796", container=_NAMESPACED),
    ),
    Recorded(
        "KubeEdge with CRI-O: no pod in the path",
        _SPIRE,
        v2(f"/../crio-{_KUBEEDGE}.scope"),
        Workload(container=_KUBEEDGE, runtime="cri-o"),
    ),
)

CONTAINERS = (
    Recorded(
        "Docker, systemd driver",
        _NEUVECTOR,
        v1(f"/system.slice/docker-{_DOCKER}.scope"),
        Workload(container=_DOCKER, runtime="docker"),
    ),
    Recorded(
        "Docker, cgroupfs driver", _NEUVECTOR, v1(f"/docker/{_UBUNTU}"), Workload(container=_UBUNTU, runtime="docker")
    ),
    Recorded("Docker on old Debian: the bare id", _NEUVECTOR, v1(f"/{_DEBIAN}"), Workload(container=_DEBIAN)),
    Recorded(
        "Docker in Docker: the one that the host knows",
        _NEUVECTOR,
        v1(f"/docker/{_OUTER}/docker/{_INNER}"),
        Workload(container=_OUTER, runtime="docker"),
    ),
    Recorded(
        "Podman as root",
        "quoted in public tests of a process viewer",
        v2(f"/machine.slice/libpod-{_PODMAN}.scope/container"),
        Workload(container=_PODMAN, runtime="podman"),
    ),
    Recorded(
        "Podman without root",
        "opencontainers/runc, libcontainer/cgroups/systemd/v2.go",
        v2(f"/user.slice/user-1001.slice/user@1001.service/user.slice/libpod-{_ROOTLESS}.scope"),
        Workload(container=_ROOTLESS, runtime="podman", owner=1001),
    ),
    Recorded(
        "Podman's monitor, which is not in the container",
        "quoted in public tests of a container detector",
        v2(f"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-conmon-{_ROOTLESS}.scope"),
        Workload(unit=f"libpod-conmon-{_ROOTLESS}.scope", owner=1000),
    ),
    Recorded("LXC", "documented: LXC 4", v2("/lxc.payload.web01"), Workload(container="web01", runtime="lxc")),
)

UNITS = (
    Recorded(
        "a service", "documented: systemd", v2("/system.slice/jupyterhub.service"), Workload(unit="jupyterhub.service")
    ),
    Recorded(
        "a login",
        "treydock/cgroup_exporter, collector/cgroupv2_test.go",
        v2("/user.slice/user-20821.slice/session-157.scope"),
        Workload(unit="session-157.scope", owner=20821),
    ),
    Recorded(
        "a user's program",
        "documented: systemd, desktop environments",
        v2("/user.slice/user-1000.slice/user@1000.service/app.slice/app-org.kde.konsole-1234.scope"),
        Workload(unit="app-org.kde.konsole-1234.scope", owner=1000),
    ),
    Recorded(
        "cgroup v1 where only systemd's hierarchy tells",
        "documented: systemd, legacy hierarchy",
        v1("/", systemd="/system.slice/sshd.service"),
        Workload(unit="sshd.service"),
    ),
    Recorded(
        "groups below a service, which is being removed",
        "documented: systemd, Delegate=yes",
        v2("/system.slice/ray.service/worker/3 (deleted)"),
        Workload(unit="ray.service"),
    ),
    Recorded("nothing: the root", _NEUVECTOR, v1("/"), Workload()),
)

RECORDED = (*SLURM, *KUBERNETES, *CONTAINERS, *UNITS)
