"""The library builds with any compiler, leaves out what is asked, and lays out its structs as pynvml does."""

from __future__ import annotations

import ctypes
import importlib.util
from pathlib import Path
from typing import Any

import pynvml
import pytest

from tests.nvml_sim.build import SONAME, ZIG, build
from tests.nvml_sim.fixtures import preload

nv: Any = pynvml

STRUCTS = {
    "pci_info": "nvmlPciInfo_t",
    "memory_v1": "c_nvmlMemory_t",
    "memory_v2": "c_nvmlMemory_v2_t",
    "bar1_memory": "c_nvmlBAR1Memory_t",
    "utilization": "c_nvmlUtilization_t",
    "process_info": "c_nvmlProcessInfo_v3_t",
    "process_detail": "c_nvmlProcessDetail_v1_t",
    "process_detail_list": "c_nvmlProcessDetailList_v1_t",
    "process_sample": "c_nvmlProcessUtilizationSample_t",
    "process_util": "c_nvmlProcessUtilizationInfo_v1_t",
    "process_util_list": "c_nvmlProcessesUtilizationInfo_v1_t",
    "value_union": "c_nvmlValue_t",
    "sample": "c_nvmlSample_t",
    "field_value": "c_nvmlFieldValue_t",
    "margin_temperature": "c_nvmlMarginTemperature_v1_t",
    "temperature_v1": "c_nvmlTemperature_v1_t",
    "fan_speed_info": "c_nvmlFanSpeedInfo_t",
    "ecc_counts": "c_nvmlEccErrorCounts_t",
    "remap_histogram": "c_nvmlRowRemapperHistogramValues",
    "sram_status": "c_nvmlEccSramErrorStatus_v1_t",
    "platform_info": "c_nvmlPlatformInfo_v2_t",
    "fabric_info": "c_nvmlGpuFabricInfo_t",
    "fabric_v2": "c_nvmlGpuFabricInfo_v2_t",
    "fabric_v3": "c_nvmlGpuFabricInfo_v3_t",
    "attributes": "c_nvmlDeviceAttributes",
    "event_data": "c_nvmlEventData_t",
    "gpm_metric": "c_nvmlGpmMetric_t",
    "gpm_support": "c_nvmlGpmSupport_t",
    "gi_info": "c_nvmlGpuInstanceInfo_t",
    "ci_info": "c_nvmlComputeInstanceInfo_t",
    "gi_profile": "c_nvmlGpuInstanceProfileInfo_t",
    "gi_profile_v2": "c_nvmlGpuInstanceProfileInfo_v2_t",
}


def load(folder: Path) -> ctypes.CDLL:
    """A second build, behind the usual one: the first that has the SONAME is pynvml's."""
    preload()
    return ctypes.CDLL(str(folder / SONAME))


@pytest.mark.parametrize(("ours", "theirs"), STRUCTS.items())
def test_struct_sizes(ours: str, theirs: str) -> None:
    """Every struct has the size of its ctypes declaration."""
    assert preload().gpufleet_sim_sizeof(ours.encode()) == ctypes.sizeof(getattr(nv, theirs))


def test_a_build_is_made_once() -> None:
    """The same sources give the same folder."""
    before = (build() / SONAME).stat().st_mtime_ns
    assert (build() / SONAME).stat().st_mtime_ns == before


def test_a_function_can_be_left_out() -> None:
    """A driver that is too old for a function does not export it."""
    library = load(build(without=["nvmlDeviceGetPlatformInfo"]))
    assert not hasattr(library, "nvmlDeviceGetPlatformInfo")
    assert hasattr(library, "nvmlDeviceGetSerial")


@pytest.mark.skipif(not importlib.util.find_spec("ziglang"), reason="PyPI package ziglang is not installed")
def test_builds_with_the_compiler_from_pypi() -> None:
    """A machine without a C compiler can use ziglang."""
    library = load(build(command=ZIG))
    assert library.gpufleet_sim_sizeof(b"memory_v2") == 40


def test_pynvml_finds_it_by_its_soname() -> None:
    """After preloading, dlopen of the name alone gives the same library."""
    ours = ctypes.cast(preload().nvmlShutdown, ctypes.c_void_p).value
    assert ctypes.cast(ctypes.CDLL(SONAME).nvmlShutdown, ctypes.c_void_p).value == ours
    assert Path(build(), SONAME).exists()
