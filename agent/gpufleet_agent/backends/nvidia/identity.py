"""What a GPU is: every field of the roster, read once and again about every minute."""

from __future__ import annotations

import re
from collections.abc import Callable
from ctypes import byref, c_char, c_uint
from typing import Any, Literal

from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.backends.nvidia import fabric, mig, platform
from gpufleet_agent.backends.nvidia.facts import Fact, gather, get, text, word
from gpufleet_agent.backends.nvidia.fields import read_field
from gpufleet_agent.backends.nvidia.library import GpuLost, Handle, ask, failure, function
from gpufleet_agent.catalogue import Reason
from gpufleet_agent.wire import Gpu

VENDOR = "nvidia"

_ARCHITECTURES = {
    2: "Kepler", 3: "Maxwell", 4: "Pascal", 5: "Volta", 6: "Turing", 7: "Ampere", 8: "Ada", 9: "Hopper",
    10: "Blackwell", 13: "Rubin",
}  # fmt: skip
_BRANDS = {
    1: "Quadro", 2: "Tesla", 3: "NVS", 4: "GRID", 5: "GeForce", 6: "TITAN", 7: "NVIDIA vApps", 8: "NVIDIA vPC",
    9: "NVIDIA vCS", 10: "NVIDIA vWS", 11: "NVIDIA Cloud Gaming", 12: "Quadro RTX", 13: "NVIDIA RTX", 14: "NVIDIA",
    15: "GeForce RTX", 16: "TITAN RTX", 18: "NVIDIA vGameDev",
}  # fmt: skip
_NVLINK_VERSIONS = {1: "1.0", 2: "2.0", 3: "2.2", 4: "3.0", 5: "3.1", 6: "4.0", 7: "5.0", 8: "6.0"}
_SWITCH = word({0: "disabled", 1: "enabled"})
_COMPUTE_MODE = word({0: "default", 1: "exclusive thread", 2: "prohibited", 3: "exclusive process"})
_MOST_LINKS = 36
_MEMORY_V2 = 2 << 24 | 40


def _serial(value: str) -> str:
    serial = text(value)
    # A serial of zeros is on many boards: as an asset's key it would merge them.
    if not serial.strip("0"):
        raise Reading(Reason.IMPLAUSIBLE)
    return serial


def _named(words: dict[int, str]) -> Any:
    """A number newer than this table stays readable."""
    return lambda number: words.get(number, f"unknown ({number})")


def _watts(at: int | None = None) -> Any:
    return lambda milliwatts: (milliwatts if at is None else milliwatts[at]) / 1000


def _identifier(member: str) -> Any:
    return lambda info: f"0x{getattr(info, member):08X}"


def _first_link(handle: Handle) -> str:
    """The version of the first link that tells it."""
    problem = Reading(Reason.UNSUPPORTED)
    for link in range(_link_count(handle)):
        try:
            return str(_NVLINK_VERSIONS.get(version := ask("nvmlDeviceGetNvLinkVersion", handle, link), version))
        except Reading as failed:
            problem = failed
    raise problem


def _link_count(handle: Handle) -> int:
    try:
        return int(read_field(handle, 91))
    except Reading:
        return _count_links(handle)


def _count_links(handle: Handle) -> int:
    """Links whose state can be asked. Reading where that is none."""
    count, problem = 0, Reading(Reason.UNSUPPORTED)
    for link in range(_MOST_LINKS):
        try:
            ask("nvmlDeviceGetNvLinkState", handle, link)
            count += 1
        except Reading as failed:
            problem = failed
    if not count:
        raise problem
    return count


def _filled(name: str, *cells: type[Any], take: Callable[[list[Any]], Any]) -> Callable[[Handle], Any]:
    """What `take` makes of the cells that NVML's own function fills.

    For functions whose getter in pynvml takes other arguments in other versions.
    """

    def read(handle: Handle) -> Any:
        found = [cell() for cell in cells]
        code = function(name)(handle, *map(byref, found))
        if code:
            raise failure(code)
        return take([cell.value for cell in found])

    return read


_FACTS = (
    Fact("uuid", get("nvmlDeviceGetUUID", take=text)),
    Fact("serial", get("nvmlDeviceGetSerial", take=_serial)),
    Fact("model", get("nvmlDeviceGetName", take=text)),
    Fact("brand", get("nvmlDeviceGetBrand", take=_named(_BRANDS))),
    Fact("architecture", get("nvmlDeviceGetArchitecture", take=_named(_ARCHITECTURES))),
    Fact("compute_capability", get("nvmlDeviceGetCudaComputeCapability", take="{0[0]}.{0[1]}".format)),
    Fact("board_part_number", get("nvmlDeviceGetBoardPartNumber", take=text)),
    Fact("board_id", get("nvmlDeviceGetBoardId")),
    Fact("vbios_version", get("nvmlDeviceGetVbiosVersion", take=text)),
    Fact("inforom_image_version", get("nvmlDeviceGetInforomImageVersion", take=text)),
    Fact("inforom_oem_version", get("nvmlDeviceGetInforomVersion", 0, take=text)),
    Fact("inforom_ecc_version", get("nvmlDeviceGetInforomVersion", 1, take=text)),
    Fact("inforom_power_version", get("nvmlDeviceGetInforomVersion", 2, take=text)),
    Fact("pci_address", get("nvmlDeviceGetPciInfo_v3", take=lambda info: text(info.busId))),
    Fact("pci_device_id", get("nvmlDeviceGetPciInfo_v3", take=_identifier("pciDeviceId"))),
    Fact("pci_subsystem_id", get("nvmlDeviceGetPciInfo_v3", take=_identifier("pciSubSystemId"))),
    Fact("minor_number", get("nvmlDeviceGetMinorNumber")),
    Fact("numa_node", get("nvmlDeviceGetNumaNodeId")),
    Fact("module_id", _filled("nvmlDeviceGetModuleId", c_uint, take=lambda found: found[0])),
    Fact("module_id", platform.module_id),
    Fact("chassis_serial", platform.chassis_serial),
    Fact("tray_index", platform.tray_index),
    Fact("slot_number", platform.slot_number),
    Fact("host_id", platform.host_id),
    Fact("memory_total", get("nvmlDeviceGetMemoryInfo", _MEMORY_V2, take=lambda memory: memory.total)),
    Fact("memory_total", get("nvmlDeviceGetMemoryInfo", take=lambda memory: memory.total)),
    Fact("bar1_total", get("nvmlDeviceGetBAR1MemoryInfo", take=lambda memory: memory.bar1Total)),
    Fact("cores", get("nvmlDeviceGetNumGpuCores")),
    Fact("power_limit_default", get("nvmlDeviceGetPowerManagementDefaultLimit", take=_watts())),
    Fact("power_limit_min", get("nvmlDeviceGetPowerManagementLimitConstraints", take=_watts(0))),
    Fact("power_limit_max", get("nvmlDeviceGetPowerManagementLimitConstraints", take=_watts(1))),
    Fact("graphics_clock_max", get("nvmlDeviceGetMaxClockInfo", 0)),
    Fact("sm_clock_max", get("nvmlDeviceGetMaxClockInfo", 1)),
    Fact("memory_clock_max", get("nvmlDeviceGetMaxClockInfo", 2)),
    Fact("video_clock_max", get("nvmlDeviceGetMaxClockInfo", 3)),
    Fact("shutdown_temperature", get("nvmlDeviceGetTemperatureThreshold", 0)),
    Fact("slowdown_temperature", get("nvmlDeviceGetTemperatureThreshold", 1)),
    Fact("memory_temperature_max", get("nvmlDeviceGetTemperatureThreshold", 2)),
    Fact("gpu_temperature_max", get("nvmlDeviceGetTemperatureThreshold", 3)),
    Fact("ecc_mode", get("nvmlDeviceGetEccMode", take=lambda modes: _SWITCH(modes[0]))),
    Fact("ecc_mode_pending", get("nvmlDeviceGetEccMode", take=lambda modes: _SWITCH(modes[1]))),
    Fact("mig_mode", get("nvmlDeviceGetMigMode", take=lambda modes: _SWITCH(modes[0]))),
    Fact("mig_mode_pending", get("nvmlDeviceGetMigMode", take=lambda modes: _SWITCH(modes[1]))),
    Fact("persistence_mode", get("nvmlDeviceGetPersistenceMode", take=_SWITCH)),
    Fact("compute_mode", get("nvmlDeviceGetComputeMode", take=_COMPUTE_MODE)),
    Fact("pcie_generation_max", get("nvmlDeviceGetMaxPcieLinkGeneration")),
    Fact("pcie_width_max", get("nvmlDeviceGetMaxPcieLinkWidth")),
    Fact("nvlink_count", _link_count),
    Fact("nvlink_version", _first_link),
    Fact("fabric_cluster", fabric.cluster),
    Fact("fabric_clique", fabric.clique),
    Fact("gsp_firmware_mode", _filled("nvmlDeviceGetGspFirmwareMode", c_uint, c_uint, take=lambda m: _SWITCH(m[0]))),
    Fact("gsp_firmware_version", _filled("nvmlDeviceGetGspFirmwareVersion", c_char * 64, take=lambda v: text(v[0]))),
)


def identify(handle: Handle, index: int) -> Gpu:
    """Everything about a GPU; its state is `lost` if the driver says so of any of it."""
    values, absent = gather(Gpu, _FACTS, handle)
    values.setdefault("uuid", placeholder(index))
    is_lost = Reason.LOST.word in absent.values()
    try:
        partitions = mig.partitions(handle)
    except GpuLost:
        is_lost, partitions = True, []
    return Gpu(
        vendor=VENDOR, index=index, state="lost" if is_lost else "ok", partitions=partitions, absent=absent, **values
    )


def unreachable(index: int, reason: Reason) -> Gpu:
    """A GPU that is counted but cannot even be told by its UUID."""
    absent = dict.fromkeys((fact.field for fact in _FACTS if fact.field != "uuid"), reason.word)
    state: Literal["ok", "lost"] = "lost" if reason is Reason.LOST else "ok"
    return Gpu(uuid=placeholder(index), vendor=VENDOR, index=index, state=state, absent=absent)


def placeholder(index: int) -> str:
    """The name of a GPU whose UUID the driver does not tell."""
    return f"GPU-unknown-{index}"


def is_placeholder(uuid: str) -> bool:
    """Whether a UUID is such a name."""
    return re.fullmatch(r"GPU-unknown-\d+", uuid) is not None
