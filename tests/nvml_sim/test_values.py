"""Every value of every model arrives through the real pynvml, and over time as the scenario says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from math import pi
from pathlib import Path
from typing import Any

import pynvml
import pytest

from tests.nvml_sim.fixtures import driver
from tests.nvml_sim.models import a100_mig, b200, busy, h100_sxm, healthy, old_card
from tests.nvml_sim.readings import READINGS, gpm_value, read
from tests.nvml_sim.scenario import PCIE_THROUGHPUT, Device, Scenario, Spec, counter, error, linear, pulse, sine, steps

nv: Any = pynvml
MODELS = (h100_sxm, b200, a100_mig, old_card)
# What has no getter of its own, or is read in a test of its own.
ELSEWHERE = (
    "gpm.",
    "gi_profile.",
    "platform.ib",
    "platform.chassis",
    "fabric.cluster",
    "module_power_mw",
    "processes",
    "process_utilization",
    "gpu_instance",
    "compute_instance",
    "placement.",
)


def quick(*gpus: Device) -> Scenario:
    """A scenario in which no call takes long."""
    scenario = Scenario(list(gpus))
    scenario.system.lines.clear()
    return scenario


@pytest.mark.parametrize("model", MODELS)
def test_every_value_arrives(model: Callable[[int], Device], tmp_path: Path) -> None:
    """Each constant of each of eight GPUs is read back as it was written."""
    gpus = [model(index) for index in range(8)]
    with driver(quick(*gpus), tmp_path / "s"):
        for index, gpu in enumerate(gpus):
            handle = nv.nvmlDeviceGetHandleByIndex(index)
            wanted = {
                name: value
                for name, value in gpu.values.items()
                if not name.startswith(ELSEWHERE) and not isinstance(value, Spec)
            }
            assert {name: read(handle, name) for name in wanted} == wanted


@pytest.mark.parametrize("model", MODELS)
def test_numbers_are_distinct(model: Callable[[int], Device]) -> None:
    """No number appears twice on a GPU, nor in the same field of two GPUs; the wide ones nowhere else at all."""
    gpus = [model(index) for index in range(8)]
    for gpu in gpus:
        assert max(Counter(gpu.values[name] for name in gpu.distinct).values()) == 1
    for name in gpus[0].distinct:
        assert len({gpu.values[name] for gpu in gpus}) == 8, name
    wide = [v for gpu in gpus for name in gpu.distinct if isinstance(v := gpu.values[name], int) and v > 10_000]
    assert len(wide) == len(set(wide))


def test_unsupported_is_an_error_and_never_zero(tmp_path: Path) -> None:
    """What an old card lacks is NotSupported through every getter."""
    lacking = set(READINGS) - set(old_card().values)
    assert len(lacking) > 100
    with driver(quick(old_card()), tmp_path / "s"):
        handle = nv.nvmlDeviceGetHandleByIndex(0)
        for name in lacking:
            with pytest.raises(nv.NVMLError_NotSupported):
                read(handle, name)


def test_values_move_with_time(tmp_path: Path) -> None:
    """Lines, waves, pulses, steps and changes give at each time what they should."""
    gpu = (
        h100_sxm()
        .update(
            {
                "power_usage_mw": linear(1000, 10),
                "util.gpu": sine(50, 10, 40),
                "util.memory": pulse(1, 9, 10, 0.5),
                "temperature_c": steps((0, 30), (5, 40)),
                "clock.sm": 100,
            }
        )
        .at(9, "clock.sm", 200)
    )
    wanted = {0.0: (1000, 50, 9, 30, 100), 10.0: (1100, 60, 9, 40, 200), 17.0: (1170, 55, 1, 40, 200)}
    names = ("power_usage_mw", "util.gpu", "util.memory", "temperature_c", "clock.sm")
    scenario = quick(gpu).freeze(0)
    with driver(scenario, tmp_path / "s") as file:
        handle = nv.nvmlDeviceGetHandleByIndex(0)
        for now, values in wanted.items():
            scenario.freeze(now).write(file)
            assert tuple(read(handle, name) for name in names) == values


def test_counters_wrap_reset_and_keep(tmp_path: Path) -> None:
    """A counter wraps at its width, starts from 0 at a reset and at a driver reload unless it is kept."""
    gpu = h100_sxm().update(
        {
            "field.197": counter(2**32 - 5, 10, wrap=32),
            "energy_mj": counter(10**12, 100, resets=[20]),
            "pcie.replay": counter(7, 1),
            "ecc.corrected.aggregate.total": counter(7, 1, keep=True),
        }
    )
    names = ("field.197", "energy_mj", "pcie.replay", "ecc.corrected.aggregate.total")
    scenario = quick(gpu).freeze(1)
    with driver(scenario, tmp_path / "s") as file:
        handle = nv.nvmlDeviceGetHandleByIndex(0)
        assert tuple(read(handle, name) for name in names) == (5, 10**12 + 100, 8, 8)
        scenario.freeze(22).write(file)
        assert tuple(read(handle, name) for name in names) == (215, 200, 29, 29)
        scenario.freeze(42).reload(38, 40).write(file)
        nv.nvmlInit()
        assert tuple(read(handle, name) for name in names) == (20, 200, 2, 49)


def test_counters_go_on_in_another_process(tmp_path: Path) -> None:
    """Time is the wall clock since the epoch, so a counter does not start again with its reader."""
    scenario = quick(h100_sxm(0, {"energy_mj": counter(0, 1000)}))
    scenario.epoch -= 1_000_000
    with driver(scenario, tmp_path / "s"):
        assert 10**9 <= nv.nvmlDeviceGetTotalEnergyConsumption(nv.nvmlDeviceGetHandleByIndex(0)) < 10**9 + 10_000


def test_memory_agrees_in_both_versions(tmp_path: Path) -> None:
    """The first version counts reserved memory as used; the second tells them apart."""
    with driver(quick(h100_sxm()), tmp_path / "s"):
        handle = nv.nvmlDeviceGetHandleByIndex(0)
        old, new = nv.nvmlDeviceGetMemoryInfo(handle), nv.nvmlDeviceGetMemoryInfo(handle, nv.nvmlMemory_v2)
        assert new.total == new.used + new.reserved + new.free
        assert (old.total, old.used, old.free) == (new.total, new.used + new.reserved, new.free)


def test_platform_and_fabric_bytes(tmp_path: Path) -> None:
    """Byte arrays arrive as they were written."""
    with driver(quick(b200(3)), tmp_path / "s"):
        handle = nv.nvmlDeviceGetHandleByIndex(0)
        platform, fabric = nv.c_nvmlPlatformInfo_v2_t(), nv.c_nvmlGpuFabricInfo_v3_t()
        nv.nvmlDeviceGetPlatformInfo(handle, nv.byref(platform))
        nv.nvmlDeviceGetGpuFabricInfoV(handle, nv.byref(fabric))
        assert platform.chassisSerialNumber == "CHASSIS000003"
        assert bytes(fabric.clusterUuid) == bytes.fromhex("c1a5" * 8)


def test_gpm_gives_the_mean_between_two_samples(tmp_path: Path) -> None:
    """A pulse that is high half of each period has the mean of high and low over whole periods."""
    gpu = h100_sxm(
        0,
        {
            "gpm.sm_util": pulse(10, 90, 2, 0.5),
            "gpm.fp16_util": steps((0, 0), (9, 100)),
            "gpm.dram_bw_util": sine(40, 20, 4),
            "gpm.fp64_util": error("no_data"),
        },
    )
    scenario = quick(gpu).freeze(0)
    with driver(scenario, tmp_path / "s") as file:
        handle = nv.nvmlDeviceGetHandleByIndex(0)
        first, second = nv.nvmlGpmSampleAlloc(), nv.nvmlGpmSampleAlloc()
        nv.nvmlGpmSampleGet(handle, first)
        scenario.freeze(10).write(file)
        nv.nvmlGpmSampleGet(handle, second)
        assert gpm_value(first, second, 2, 13, 10) == pytest.approx([50, 10, 40 + 20 * 4 / pi / 10])
        assert gpm_value(first, second, 3) == [gpu.values["gpm.sm_occupancy"]]
        with pytest.raises(nv.NVMLError_NoData):
            gpm_value(first, second, 11)


def test_gpm_needs_hopper(tmp_path: Path) -> None:
    """Boards before Hopper say no."""
    with driver(quick(a100_mig(), h100_sxm(1)), tmp_path / "s"):
        handles = [nv.nvmlDeviceGetHandleByIndex(index) for index in (0, 1)]
        assert [nv.nvmlGpmQueryDeviceSupport(h).isSupportedDevice for h in handles] == [0, 1]
        with pytest.raises(nv.NVMLError_NotSupported):
            nv.nvmlGpmSampleGet(handles[0], nv.nvmlGpmSampleAlloc())


def test_samples_come_from_a_ring_buffer(tmp_path: Path) -> None:
    """All samples first, then only what came after the last one seen, then NotFound."""
    scenario = quick(h100_sxm(0, {"util.gpu": steps((0, 10), (5, 70))})).freeze(10)
    with driver(scenario, tmp_path / "s") as file:
        handle = nv.nvmlDeviceGetHandleByIndex(0)
        kind, samples = nv.nvmlDeviceGetSamples(handle, nv.NVML_GPU_UTILIZATION_SAMPLES, 0)
        assert (kind, len(samples)) == (1, 120)
        assert {s.sampleValue.uiVal for s in samples} == {10, 70}
        last = samples[-1].timeStamp
        with pytest.raises(nv.NVMLError_NotFound):
            nv.nvmlDeviceGetSamples(handle, nv.NVML_GPU_UTILIZATION_SAMPLES, last)
        scenario.freeze(11).write(file)
        assert 6 <= len(nv.nvmlDeviceGetSamples(handle, nv.NVML_GPU_UTILIZATION_SAMPLES, last)[1]) <= 7


def test_processes(tmp_path: Path) -> None:
    """Processes are listed by kind while they live, named, and sampled once a second."""
    gpu = (
        h100_sxm()
        .process(101, "python train.py", used=5, sm=71, jpg=3)
        .process(102, "xorg", "graphics", used=6)
        .process(103, "later", from_=50)
    )
    with driver(quick(gpu).freeze(10), tmp_path / "s"):
        handle = nv.nvmlDeviceGetHandleByIndex(0)
        assert [(p.pid, p.usedGpuMemory) for p in nv.nvmlDeviceGetComputeRunningProcesses(handle)] == [(101, 5)]
        assert [p.pid for p in nv.nvmlDeviceGetGraphicsRunningProcesses(handle)] == [102]
        assert nv.nvmlSystemGetProcessName(101) == "python train.py"
        samples = nv.nvmlDeviceGetProcessUtilization(handle, 0)
        assert [(s.pid, s.smUtil) for s in samples] == [(101, 71)]
        assert nv.nvmlDeviceGetProcessesUtilizationInfo(handle, 0)[0].jpgUtil == 3
        with pytest.raises(nv.NVMLError_NotFound):
            nv.nvmlDeviceGetProcessUtilization(handle, samples[0].timeStamp)


def test_retired_pages(tmp_path: Path) -> None:
    """Retired pages are listed by cause."""
    gpu = h100_sxm(0, {"retired.pending": 0}).retire(0x1000, 55, double_bit=True).retire(0x2000, 66, double_bit=False)
    with driver(quick(gpu), tmp_path / "s"):
        handle = nv.nvmlDeviceGetHandleByIndex(0)
        assert nv.nvmlDeviceGetRetiredPages_v2(handle, 1) == [{"address": 0x1000, "timestamp": 55}]
        assert nv.nvmlDeviceGetRetiredPages(handle, 0) == [0x2000]


def test_devices_are_found_by_uuid_serial_and_address(tmp_path: Path) -> None:
    """All three ways lead to the GPU that carries the text."""
    gpus = [h100_sxm(index) for index in range(3)]
    with driver(quick(*gpus), tmp_path / "s"):
        address = nv.nvmlDeviceGetPciInfo(nv.nvmlDeviceGetHandleByIndex(2)).busId
        found = (
            nv.nvmlDeviceGetHandleByUUID(gpus[2].values["uuid"]),
            nv.nvmlDeviceGetHandleBySerial(gpus[2].values["serial"]),
            nv.nvmlDeviceGetHandleByPciBusId(address),
        )
        assert [nv.nvmlDeviceGetIndex(handle) for handle in found] == [2, 2, 2]


def test_pcie_throughput_takes_its_time(tmp_path: Path) -> None:
    """The driver measures over 20 ms, and so long the call blocks unless a scenario says otherwise."""
    scenario = Scenario([h100_sxm()])
    with driver(scenario, tmp_path / "s"):
        before = scenario.now()
        nv.nvmlDeviceGetPcieThroughput(nv.nvmlDeviceGetHandleByIndex(0), 0)
        assert scenario.now() - before >= 0.02
    assert PCIE_THROUGHPUT in "".join(scenario.system.lines)


def test_shapes_for_whole_gpus(tmp_path: Path) -> None:
    """A busy GPU moves, and a healthy one has counted no errors."""
    scenario = quick(busy(h100_sxm()), healthy(h100_sxm(1))).freeze(0)
    with driver(scenario, tmp_path / "s") as file:
        moving, sound = (nv.nvmlDeviceGetHandleByIndex(index) for index in (0, 1))
        energy, sent = read(moving, "energy_mj"), read(moving, "field.138.all")
        scenario.freeze(1).write(file)
        assert (read(moving, "energy_mj"), read(moving, "field.138.all")) == (energy + 450_000, sent + 5_000_000)
        assert nv.nvmlDeviceGetRemappedRows(sound) == (0, 0, 0, 0)
        assert read(sound, "ecc.uncorrected.volatile.total") == 0
