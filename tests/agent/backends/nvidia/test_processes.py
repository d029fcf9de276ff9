"""The processes on GPUs and partitions, as the driver lists and samples them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
from gpufleet_agent.backends.backend import GpuProcess, ProcessList, Session

from tests.agent.backends.nvidia.driver import opened
from tests.nvml_sim.build import build
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Scenario, a100_mig, error, h100_sxm

# The driver's samples are newer, or older, than the session.
AHEAD, BEHIND = 100.0, -100.0


def listed(session: Session) -> list[GpuProcess]:
    """The processes of the only list there is."""
    (found,) = session.processes()
    assert found.reason is None
    return list(found.processes)


def test_kinds_memory_and_activity(tmp_path: Path) -> None:
    """A process of two kinds is one process; what did nothing has 0 %, memory the driver does not know is absent."""
    gpu = (
        h100_sxm(0)
        .process(11, "train", used=5 << 30, sm=71)
        .process(11, "train", "graphics", used=5 << 30, sm=71)
        .process(12, "xorg", "graphics")
        .process(13, "client", "mps", used=7, sm=20)
    )
    with opened(Scenario([gpu]).freeze(AHEAD), tmp_path / "s") as session:
        assert listed(session) == [
            GpuProcess(11, ("compute", "graphics"), 5 << 30, 71.0, {}),
            GpuProcess(12, ("graphics",), None, 0.0, {"memory": "unsupported"}),
            GpuProcess(13, ("mps",), 7, 20.0, {}),
        ]


def test_activity_is_a_mean_of_samples(tmp_path: Path) -> None:
    """Over what the driver sampled since the reading before; a number that is no percentage is implausible."""
    gpu = h100_sxm(0).process(11, "a", sm=80).process(12, "b", sm=60, to=AHEAD + 1).process(13, "c", sm=4_000_000_000)
    scenario = Scenario([gpu]).freeze(AHEAD)
    with opened(scenario, tmp_path / "s") as session:
        first = listed(session)
        assert [process.sm for process in first] == [80, 60, None]
        assert first[2].absent["sm"] == "implausible"
        scenario.freeze(AHEAD + 2).write(tmp_path / "s")
        assert [process.sm for process in listed(session)] == [80, None]


def test_without_a_sample_nothing_is_known_at_once(tmp_path: Path) -> None:
    """No sample in less than the driver's period is no knowledge; none in more is a process that did nothing."""
    with opened(Scenario([h100_sxm(0).process(11, "a", sm=80)]).freeze(BEHIND), tmp_path / "s") as session:
        (at_once,) = listed(session)
        assert (at_once.sm, at_once.absent) == (None, {"memory": "unsupported", "sm": "not observed"})
        time.sleep(1.01)
        assert listed(session)[0].sm == 0


def test_more_processes_than_expected(tmp_path: Path) -> None:
    """All of 300 are listed, with their activity."""
    gpu = h100_sxm(0)
    for pid in range(1000, 1300):
        gpu.process(pid, "p", used=pid, sm=1)
    with opened(Scenario([gpu]).freeze(AHEAD), tmp_path / "s") as session:
        found = listed(session)
        assert [(process.pid, process.memory) for process in found] == [(pid, pid) for pid in range(1000, 1300)]
        assert {process.sm for process in found} == {1}


def test_processes_without_an_id_stay_apart(tmp_path: Path) -> None:
    """In some containers the driver names none: there are still two processes."""
    gpu = h100_sxm(0).process(0, "a", used=3).process(0, "b", used=4)
    with opened(Scenario([gpu]), tmp_path / "s") as session:
        assert [(process.pid, process.memory) for process in listed(session)] == [(0, 3), (0, 4)]


def test_processes_of_partitions(tmp_path: Path) -> None:
    """Each instance has a list of its own and the GPU none besides; the driver has no activity under MIG."""
    gpu = a100_mig(0)
    gpu.instances[2].process(7, "infer", gi=5, ci=0, used=33)
    gpu.instances[4].process(7, "infer", gi=13, ci=0, used=44)
    with opened(Scenario([gpu]), tmp_path / "s") as session:
        found = session.processes()
    uuids = [instance.values["uuid"] for instance in gpu.instances]
    assert [(one.gpu, one.partition) for one in found] == [(gpu.values["uuid"], uuid) for uuid in uuids]
    sm = {"sm": "unsupported"}
    assert [one.processes for one in found] == [
        (), (), (GpuProcess(7, ("compute",), 33, None, sm),), (), (GpuProcess(7, ("compute",), 44, None, sm),)
    ]  # fmt: skip


def test_partitions_that_change_are_seen(tmp_path: Path) -> None:
    """After a survey the lists are those of the new instances."""
    gpu = a100_mig(0)
    scenario = Scenario([gpu])
    with opened(scenario, tmp_path / "s") as session:
        assert len(session.processes()) == 5
        del gpu.instances[1:]
        scenario.write(tmp_path / "s")
        session.gpus()
        assert [one.partition for one in session.processes()] == [gpu.instances[0].values["uuid"]]


@pytest.mark.parametrize(("code", "reason"), [("no_permission", "no permission"), ("unknown", "failed")])
def test_a_list_that_cannot_be_had_says_why(code: str, reason: str, tmp_path: Path) -> None:
    """No list is not an empty list; a failure may pass, a refusal stays until the driver is opened anew."""
    gpu = h100_sxm(0).process(11, "a", used=5)
    listing = gpu.values["processes"]
    gpu.set("processes", error(code))
    scenario = Scenario([gpu])
    with opened(scenario, tmp_path / "s") as session:
        uuid = str(gpu.values["uuid"])
        assert session.processes() == [ProcessList(uuid, reason=reason)]
        gpu.set("processes", listing)
        scenario.write(tmp_path / "s")
        assert len(session.processes()[0].processes) == (reason == "failed")


def test_a_lost_gpu_has_no_list(tmp_path: Path) -> None:
    """The reason is that it is lost, at once and from then on."""
    gpu = h100_sxm(0).process(11, "a")
    scenario = Scenario([gpu, h100_sxm(1)])
    with opened(scenario, tmp_path / "s") as session:
        session.processes()
        gpu.lost(scenario.now())
        scenario.write(tmp_path / "s")
        for _ in range(2):
            assert [one.reason for one in session.processes()] == ["lost", None]


def test_an_older_library(tmp_path: Path) -> None:
    """The second version of the lists serves as well; a library without any says that it has none."""
    names = [f"nvmlDeviceGet{kind}RunningProcesses_v3" for kind in ("Compute", "Graphics", "MPSCompute")]
    code = "from gpufleet_agent.backends.nvidia import BACKEND\n"
    code += "print([([p.pid for p in one.processes], one.reason) for one in BACKEND.open().processes()])"
    file = Scenario([h100_sxm(0).process(11, "a")]).write(tmp_path / "s")
    for gone, said in ((names, "[([11], None)]"), ([n[:-1] + v for n in names for v in "32"], "[([], 'unsupported')]")):
        environ = environment(file, build(without=gone))
        done = subprocess.run([sys.executable, "-c", code], env=environ, check=True, capture_output=True, text=True)
        assert done.stdout.strip() == said
