"""From process ids to holders, on a node's files."""

from __future__ import annotations

import time
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from gpufleet_agent.backends.backend import GpuProcess, ProcessList, Tick
from gpufleet_agent.cli.usage import lines
from gpufleet_agent.runtime.frames import HEADER, Listed, decode_frame, encode, ticked
from gpufleet_agent.usage.accounts import Accounts
from gpufleet_agent.usage.attribution import IN_POD, NAMELESS, NAMESPACE, NO_PID, NUMBERS_ONLY, Attribution
from gpufleet_agent.usage.holder import Holder, ProcessUsage
from gpufleet_agent.usage.proc import ENDED
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.agent.usage.recorded import v1, v2
from tests.agent.usage.tree import FIRST_PID, Node
from tests.agent.usage.trials import EXTERN_ENVIRONMENT, TASK_ENVIRONMENT, unified

_CONTAINER = "0123456789abcdef" * 4
_UID = "8ca306fa-3c03-47fa-97dd-19979c345572"
_POD = f"/kubepods.slice/kubepods-pod{_UID.replace('-', '_')}.slice/cri-containerd-{_CONTAINER}.scope"
_JOB = "/system.slice/slurmstepd.scope/job_42/step_0/user/task_3"
_SLURM = {"SLURM_JOB_ID": "42", "SLURM_JOB_ACCOUNT": "physics", "SLURM_JOB_PARTITION": "gpu", "SECRET": "s3cr3t"}

_TICK = Tick(10_000_000, 1000, ("GPU-0",), {"gpu_utilization": [9000]})


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """A node without processes."""
    (tmp_path / "proc").mkdir()
    return Node(tmp_path)


def on_gpu(*pids: int) -> list[ProcessList]:
    """What a driver says of them."""
    return [ProcessList("GPU-0", None, tuple(GpuProcess(pid, ("compute",), 1 << 30, 50.0, {}) for pid in pids))]


def look(node: Node, *pids: int, attribution: Attribution | None = None) -> list[ProcessUsage]:
    """What is found of these processes."""
    (found,) = (attribution or Attribution(node.root)).attribute(on_gpu(*pids))
    return list(found.processes)


def held(node: Node, pid: int) -> Holder:
    """The holder of one process."""
    (process,) = look(node, pid)
    return process.holder


def test_a_slurm_task(node: Node) -> None:
    """Job, step and task are the control group's; account and partition what Slurm gave the process."""
    holder = held(node, node.process(v2(_JOB), environment=_SLURM))
    assert holder == Holder(
        kind="slurm", uid=0, user="root", job="42", step="0", task="3", account="physics", slurm_partition="gpu"
    )
    assert "s3cr3t" not in repr(holder)


@pytest.mark.parametrize(
    ("environment", "reason"),
    [({**_SLURM, "SLURM_JOB_ID": "41"}, "is not this job"), ({"SLURM_JOB_ID": "42"}, "is not in its environment")],
)
def test_an_environment_that_does_not_fit_is_not_believed(environment: dict[str, str], reason: str, node: Node) -> None:
    """A user may set these variables to anything; the control group is root's."""
    holder = held(node, node.process(v2(_JOB), environment=environment))
    assert (holder.job, holder.account, holder.slurm_partition) == ("42", None, None)
    assert reason in holder.absent["account"]
    assert reason in holder.absent["slurm_partition"]


def test_a_task_as_slurm_started_it(node: Node) -> None:
    """Recorded on a cluster without accounting: the partition is told, and that there is no account."""
    step = "/system.slice/node1_slurmstepd.scope/job_3/step_0/user/task_special"
    holder = held(node, node.process(unified(step), environment=TASK_ENVIRONMENT))
    assert (holder.job, holder.step, holder.slurm_partition) == ("3", "0", "gpu")
    assert holder.absent["account"] == "SLURM_JOB_ACCOUNT is not in its environment"


def test_a_process_that_slurm_gave_no_job(node: Node) -> None:
    """Recorded: those of the extern step, where logins are adopted, have a job's group and none of its variables."""
    step = "/system.slice/node1_slurmstepd.scope/job_3/step_extern/user/task_special"
    holder = held(node, node.process(unified(step), environment=EXTERN_ENVIRONMENT))
    assert (holder.job, holder.step) == ("3", "extern")
    assert holder.absent["slurm_partition"] == "SLURM_JOB_ID is not in its environment"


@pytest.mark.parametrize("mount", ["sys/fs/cgroup", "sys/fs/cgroup/unified"])
def test_a_job_named_by_its_sluid(mount: str, node: Node) -> None:
    """The step's own daemon knows the job's number; without it the SLUID stands for the job."""
    step = "/system.slice/slurmstepd.scope/sEKNKTV3WPV500/step_0"
    pid = node.process(v2(f"{step}/user/task_0"), environment=_SLURM)
    unnamed = held(node, pid)
    assert (unnamed.kind, unnamed.sluid, unnamed.job, unnamed.account) == ("slurm", "sEKNKTV3WPV500", None, None)
    assert "SLUID" in unnamed.absent["job"]
    daemon = node.process(v2(f"{step}/slurm"), arguments=("slurmstepd: [42.0]",))
    node.file(f"{mount}{step}/slurm/cgroup.procs", f"{FIRST_PID - 5}\n{daemon}\n")
    named = held(node, pid)
    assert (named.job, named.sluid, named.account) == ("42", "sEKNKTV3WPV500", "physics")


def test_a_pod_with_its_names(node: Node) -> None:
    """Namespace, pod and container are in the names of kubelet's log files; a pod's user ids are nobody's here."""
    node.pod("ml-team", "train-0", _UID)
    node.file(f"var/log/containers/train-0_ml-team_worker-gpu-{_CONTAINER}.log")
    holder = held(node, node.process(v2(_POD), uid=0))
    assert holder == Holder(
        kind="kubernetes",
        uid=0,
        pod_uid=_UID,
        namespace="ml-team",
        pod="train-0",
        container=_CONTAINER,
        container_name="worker-gpu",
        runtime="containerd",
        absent={"user": IN_POD},
    )


def test_a_pod_without_names(node: Node) -> None:
    """No log folders: the UID stands for the pod. They may come later, and are seen then."""
    pid = node.process(v2(_POD))
    holder = held(node, pid)
    assert (holder.kind, holder.pod_uid, holder.pod) == ("kubernetes", _UID, None)
    assert holder.absent["pod"] == f"there is no {node.root}/var/log/pods here"
    node.pod("other", "one", _UID.replace("8", "9"))
    assert held(node, pid).absent["pod"] == f"not in {node.root}/var/log/pods"
    node.pod("ml-team", "train-0", _UID)
    assert held(node, pid).pod == "train-0"


def test_slurm_in_a_pod_keeps_both(node: Node) -> None:
    """The job counts, and the pod that its node runs in is told too."""
    holder = held(node, node.process(v2(_POD + _JOB), environment=_SLURM))
    assert (holder.kind, holder.job, holder.pod_uid, holder.container) == ("slurm", "42", _UID, _CONTAINER)


def test_a_container_without_root_is_its_users(node: Node) -> None:
    """Its processes have ids of a range; the slice says whose it is."""
    path = f"/user.slice/user-0.slice/user@0.service/user.slice/libpod-{_CONTAINER}.scope/container"
    holder = held(node, node.process(v2(path), uid=100_999))
    assert (holder.kind, holder.user, holder.uid, holder.runtime) == ("container", "root", 0, "podman")


def test_users_by_number(node: Node) -> None:
    """Where names are not wanted the host's name service is not even asked."""
    (process,) = look(node, node.process(v2(_JOB)), attribution=Attribution(node.root, user_names=False))
    assert (process.holder.uid, process.holder.user, process.holder.absent["user"]) == (0, None, NUMBERS_ONLY)


def test_a_service_and_nothing(node: Node) -> None:
    """A systemd unit holds what no job, pod or container does; in the root group there is nothing to tell."""
    assert held(node, node.process(v1("/system.slice/ray.service"))).unit == "ray.service"
    nothing = held(node, node.process(v2("/"), uid=999_999_999))
    assert (nothing.kind, nothing.user, nothing.uid) == ("unknown", None, 999_999_999)
    assert nothing.absent == {"user": "this host has no name for the user id", "workload": NAMELESS}


def test_a_process_and_its_command(node: Node) -> None:
    """Name and start; the command line only where it is asked for, and without what a terminal would obey."""
    pid = node.process(v2("/"), command="a) b (c", arguments=("python3", "my file.py", "\x1b[31m"), started=4200)
    (process,) = look(node, pid)
    assert (process.command, process.command_line, process.absent) == ("a) b (c", None, {})
    booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    assert process.started is not None
    assert abs(process.started / 1e6 - booted - 42) < 1
    (asked,) = look(node, pid, attribution=Attribution(node.root, command_lines=True))
    assert asked.command_line == "python3 'my file.py' '?[31m'"


def test_what_cannot_be_seen_has_a_reason(node: Node) -> None:
    """A process that ended, one without an id, an id that no kernel gives: memory and activity stay known."""
    found = look(node, FIRST_PID + 9, 0, 1 << 31)
    assert [process.holder.absent["workload"] for process in found] == [ENDED, NO_PID, NO_PID]
    assert {(process.holder.kind, process.memory, process.sm) for process in found} == {("unknown", 1 << 30, 50.0)}


@pytest.mark.parametrize(("number", "kind"), [(4026531836, "unit"), (4026532201, "unknown")])
def test_ids_of_another_namespace_are_not_looked_up(number: int, kind: str, node: Node) -> None:
    """In a container of its own the agent would find processes that merely have the same ids."""
    node.namespace(number)
    holder = held(node, node.process(v2("/system.slice/ray.service")))
    assert (holder.kind, holder.absent.get("workload")) == (kind, NAMESPACE if kind == "unknown" else None)


def test_a_process_is_looked_at_once(node: Node) -> None:
    """What was found is kept while the process lives; the same id with another start is another process."""
    attribution = Attribution(node.root)
    pid = node.process(v2("/system.slice/one.service"))
    (first,) = look(node, pid, attribution=attribution)
    node.process(v2("/system.slice/two.service"), pid=pid)
    (kept,) = look(node, pid, attribution=attribution)
    assert kept.holder is first.holder
    node.process(v2("/system.slice/two.service"), pid=pid, started=2000)
    (other,) = look(node, pid, attribution=attribution)
    assert other.holder.unit == "two.service"


@given(
    stat=st.one_of(st.binary(), st.binary().map(lambda found: b"1 (x) " + b"7 " * 25 + found)),
    status=st.one_of(st.binary(), st.just(b"Uid:\t0\t0\n")),
    cgroup=st.one_of(st.binary(), st.just(v2(_JOB).encode()), st.just(v2(_POD).encode())),
    other=st.binary(),
)
@example(b"1 (x) " + b"7 " * 25, b"Uid:\t0\t0\n", b"0::/\x1b[31m\xff.service\n", b"")
@settings(max_examples=50, deadline=None)
def test_nothing_in_proc_ends_the_reader(stat: bytes, status: bytes, cgroup: bytes, other: bytes) -> None:
    """Whatever the files of a process hold, something of it is told."""
    with TemporaryDirectory() as root:
        node = Node(Path(root))
        pid = node.process("")
        for name, data in (
            ("stat", stat),
            ("status", status),
            ("cgroup", cgroup),
            ("cmdline", other),
            ("environ", other),
        ):
            (node.root / "proc" / str(pid) / name).write_bytes(data)
        found = Attribution(node.root, command_lines=True).attribute(on_gpu(pid))
        assert decode_frame(encode(Listed(found))[HEADER:]) == Listed(found)
        told = ticked(_TICK, Accounts(Attribution(node.root)).used(on_gpu(pid), _TICK, []))
        assert decode_frame(encode(told)[HEADER:]) == told
        assert "\x1b" not in "".join(lines(found))


def test_lists_that_are_not_known_stay_so(node: Node) -> None:
    """GPU, partition and reason go through."""
    (found,) = Attribution(node.root).attribute([ProcessList("GPU-1", "MIG-1", (), "no permission")])
    assert (found.gpu, found.partition, found.processes, found.reason) == ("GPU-1", "MIG-1", (), "no permission")
