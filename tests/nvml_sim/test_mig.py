"""MIG instances are listed with their profiles, sizes, processes and parents."""

from __future__ import annotations

from collections.abc import Iterator
from ctypes import byref
from pathlib import Path
from typing import Any

import pynvml
import pytest

from tests.nvml_sim.fixtures import driver
from tests.nvml_sim.models import INSTANCES, PROFILES, a100_mig, h100_sxm
from tests.nvml_sim.readings import read
from tests.nvml_sim.scenario import Scenario

nv: Any = pynvml


@pytest.fixture
def gpu(tmp_path: Path) -> Iterator[Any]:
    """The handle of an A100 beside an H100."""
    board = a100_mig(1)
    board.instances[2].process(7, "inference", gi=5, ci=0, used=33)
    with driver(Scenario([h100_sxm(), board]), tmp_path / "s"):
        yield nv.nvmlDeviceGetHandleByIndex(1)


def instances(gpu: Any) -> list[Any]:
    """The handles of all instances."""
    found = []
    for index in range(nv.nvmlDeviceGetMaxMigDeviceCount(gpu)):
        try:
            found.append(nv.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index))
        except nv.NVMLError_NotFound:
            break
    return found


def test_instances_and_their_values(gpu: Any) -> None:
    """Every instance has its own ids, texts, memory and attributes, and knows its parent."""
    assert nv.nvmlDeviceGetMigMode(gpu) == [1, 1]
    wanted = a100_mig(1).instances
    for handle, device in zip(instances(gpu), wanted, strict=True):
        names = [n for n in device.values if n.startswith(("attr.", "fb.", "bar1.", "name", "uuid"))]
        assert {name: read(handle, name) for name in names} == {name: device.values[name] for name in names}
        assert nv.nvmlDeviceGetGpuInstanceId(handle) == device.values["gpu_instance"]
        assert nv.nvmlDeviceGetComputeInstanceId(handle) == device.values["compute_instance"]
        assert nv.nvmlDeviceIsMigDeviceHandle(handle).value == 1
        assert nv.nvmlDeviceGetIndex(nv.nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle)) == 1
        assert (
            nv.nvmlDeviceGetGpuInstanceId(nv.nvmlDeviceGetHandleByUUID(device.values["uuid"]))
            == (device.values["gpu_instance"])
        )


def test_gpu_instances_by_profile(gpu: Any) -> None:
    """GPU instances are listed by profile, with their place; profiles have names and sizes."""
    for number, ident, name, *_ in PROFILES:
        profile = nv.nvmlDeviceGetGpuInstanceProfileInfo(gpu, number)
        assert (profile.id, profile.name) == (ident, f"MIG {name}")
        handles, count = (nv.c_nvmlGpuInstance_t * 7)(), nv.c_uint()
        nv.nvmlDeviceGetGpuInstances(gpu, ident, handles, byref(count))
        infos = [nv.nvmlGpuInstanceGetInfo(handles[k]) for k in range(count.value)]
        assert {(i.id, i.placement.start) for i in infos} == {(r[0], r[7]) for r in INSTANCES if r[2] == ident}


def test_utilisation_is_unsupported_under_mig(gpu: Any) -> None:
    """As the driver has it: no utilisation, no samples of it, no process utilisation."""
    for call, arguments in (("UtilizationRates", ()), ("Samples", (1, 0)), ("ProcessUtilization", (0,))):
        with pytest.raises(nv.NVMLError_NotSupported):
            getattr(nv, f"nvmlDeviceGet{call}")(gpu, *arguments)


def test_processes_of_an_instance_are_the_gpus_too(gpu: Any) -> None:
    """The process runs in one instance; its GPU lists it with the ids."""
    here = [[p.pid for p in nv.nvmlDeviceGetComputeRunningProcesses(handle)] for handle in instances(gpu)]
    assert here == [[], [], [7], [], []]
    (process,) = nv.nvmlDeviceGetComputeRunningProcesses(gpu)
    assert (process.pid, process.gpuInstanceId, process.computeInstanceId, process.usedGpuMemory) == (7, 5, 0, 33)


def test_gpus_without_mig(gpu: Any) -> None:
    """A GPU that has MIG off has no instance."""
    assert instances(nv.nvmlDeviceGetHandleByIndex(0)) == []
