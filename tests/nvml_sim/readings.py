"""Reads each field of a scenario back through pynvml: the name of the field, and the call that gives it."""

from __future__ import annotations

from collections.abc import Callable
from ctypes import byref, string_at
from typing import Any

import pynvml

from tests.nvml_sim.parts import CLOCKS, ECC_PLACES

nv: Any = pynvml

Handle = Any
Reading = Callable[[Handle], Any]

SAMPLED_VALUE = {0: "dVal", 1: "uiVal", 3: "ullVal", 5: "siVal"}
TYPES = {"uint": 1, "ull": 3, "signed": 5, "double": 0}
GPM_IDS = {
    "graphics_util": 1,
    "sm_util": 2,
    "sm_occupancy": 3,
    "integer_util": 4,
    "any_tensor_util": 5,
    "dfma_tensor_util": 6,
    "hmma_tensor_util": 7,
    "dmma_tensor_util": 8,
    "imma_tensor_util": 9,
    "dram_bw_util": 10,
    "fp64_util": 11,
    "fp32_util": 12,
    "fp16_util": 13,
    "pcie_tx": 20,
    "pcie_rx": 21,
    "nvlink_rx": 60,
    "nvlink_tx": 61,
}


def field_value(handle: Handle, name: str) -> Any:
    """field.N, field.N.LINK or field.N.all by nvmlDeviceGetFieldValues."""
    number, _, scope = name.removeprefix("field.").partition(".")
    value = nv.nvmlDeviceGetFieldValues(handle, [(int(number), 0xFFFFFFFF if scope == "all" else int(scope or 0))])[0]
    if value.nvmlReturn:
        raise nv.NVMLError(value.nvmlReturn)
    return getattr(value.value, SAMPLED_VALUE[value.valueType])


def gpm_value(first: Any, second: Any, *ids: int) -> list[float]:
    """The means of GPM metrics between two samples."""
    asked = nv.c_nvmlGpmMetricsGet_t(version=1, numMetrics=len(ids), sample1=first, sample2=second)
    for metric, ident in zip(asked.metrics, ids, strict=False):
        metric.metricId = ident
    nv.nvmlGpmMetricsGet(asked)
    for metric in asked.metrics[: len(ids)]:
        if metric.nvmlReturn:
            raise nv.NVMLError(metric.nvmlReturn)
    return [metric.value for metric in asked.metrics[: len(ids)]]


def _getter(function: str, *arguments: Any, part: int | str | None = None) -> Reading:
    def read(handle: Handle) -> Any:
        answer = getattr(nv, function)(handle, *arguments)
        if part is None:
            return answer
        return getattr(answer, part) if isinstance(part, str) else answer[part]

    return read


def _filled(function: str, struct: Callable[[], Any], part: str) -> Reading:
    def read(handle: Handle) -> Any:
        filled = struct()
        getattr(nv, function)(handle, byref(filled))
        member = getattr(type(filled), part)
        return int.from_bytes(string_at(byref(filled, member.offset), member.size), "little")

    return read


def _simple() -> dict[str, Reading]:
    """Fields whose function is named after them."""
    names = {
        "name": "Name",
        "uuid": "UUID",
        "serial": "Serial",
        "board_part_number": "BoardPartNumber",
        "vbios_version": "VbiosVersion",
        "inforom.image": "InforomImageVersion",
        "brand": "Brand",
        "architecture": "Architecture",
        "minor_number": "MinorNumber",
        "board_id": "BoardId",
        "module_id": "ModuleId",
        "multi_gpu_board": "MultiGpuBoard",
        "numa_node": "NumaNodeId",
        "num_gpu_cores": "NumGpuCores",
        "memory_bus_width": "MemoryBusWidth",
        "irq_num": "IrqNum",
        "bus_type": "BusType",
        "power_source": "PowerSource",
        "compute_mode": "ComputeMode",
        "persistence_mode": "PersistenceMode",
        "display_mode": "DisplayMode",
        "display_active": "DisplayActive",
        "power_limit_mw": "PowerManagementLimit",
        "power_default_limit_mw": "PowerManagementDefaultLimit",
        "power_enforced_limit_mw": "EnforcedPowerLimit",
        "power_usage_mw": "PowerUsage",
        "power_management_mode": "PowerManagementMode",
        "energy_mj": "TotalEnergyConsumption",
        "performance_state": "PerformanceState",
        "clocks_event_reasons": "CurrentClocksEventReasons",
        "supported_clocks_event_reasons": "SupportedClocksEventReasons",
        "num_fans": "NumFans",
        "fan_speed": "FanSpeed",
        "pcie.gen": "CurrPcieLinkGeneration",
        "pcie.width": "CurrPcieLinkWidth",
        "pcie.max_gen": "MaxPcieLinkGeneration",
        "pcie.max_width": "MaxPcieLinkWidth",
        "pcie.gpu_max_gen": "GpuMaxPcieLinkGeneration",
        "pcie.replay": "PcieReplayCounter",
        "pcie.speed_mbps": "PcieSpeed",
        "pcie.max_speed": "PcieLinkMaxSpeed",
        "retired.pending": "RetiredPagesPendingStatus",
        "mig.max_count": "MaxMigDeviceCount",
        "supported_event_types": "SupportedEventTypes",
        "margin_temperature_c": "MarginTemperature",
    }
    return {field: _getter(f"nvmlDeviceGet{name}") for field, name in names.items()}


def _parts() -> dict[str, Reading]:
    """Fields that are one part of an answer."""
    answers: dict[str, tuple[str, ...]] = {
        "CudaComputeCapability": ("compute_major", "compute_minor"),
        "EccMode": ("ecc_mode.current", "ecc_mode.pending"),
        "DefaultEccMode": ("ecc_mode.default",),
        "MigMode": ("mig_mode.current", "mig_mode.pending"),
        "GspFirmwareMode": ("gsp.enabled", "gsp.default"),
        "PowerManagementLimitConstraints": ("power_min_limit_mw", "power_max_limit_mw"),
        "EncoderStats": ("encoder.sessions", "encoder.fps", "encoder.latency_us"),
        "RemappedRows": ("remap.correctable", "remap.uncorrectable", "remap.pending", "remap.failed"),
        **{
            f"{engine.title()}Utilization": (f"util.{engine}", f"util.{engine}_period_us")
            for engine in ("encoder", "decoder", "jpg", "ofa")
        },
    }
    return {
        field: _getter(f"nvmlDeviceGet{name}", part=place)
        for name, fields in answers.items()
        for place, field in enumerate(fields)
    }


def _members() -> dict[str, Reading]:
    """Fields that are one member of a struct."""
    structs: dict[str, dict[str, str]] = {
        "UtilizationRates": {"util.gpu": "gpu", "util.memory": "memory"},
        "BAR1MemoryInfo": {"bar1.total": "bar1Total", "bar1.used": "bar1Used"},
        "PciInfo": {
            "pci.domain": "domain",
            "pci.bus": "bus",
            "pci.device": "device",
            "pci.device_id": "pciDeviceId",
            "pci.subsystem_id": "pciSubSystemId",
        },
        "RowRemapperHistogram": {f"remap.histogram.{m}": m for m in ("max", "high", "partial", "low", "none")},
        "Attributes": {
            "attr.multiprocessors": "multiprocessorCount",
            "attr.copy_engines": "sharedCopyEngineCount",
            "attr.decoders": "sharedDecoderCount",
            "attr.encoders": "sharedEncoderCount",
            "attr.jpegs": "sharedJpegCount",
            "attr.ofas": "sharedOfaCount",
            "attr.gpu_slices": "gpuInstanceSliceCount",
            "attr.memory_mb": "memorySizeMB",
            "attr.compute_slices": "computeInstanceSliceCount",
        },
    }
    readings = {
        field: _getter(f"nvmlDeviceGet{name}", part=member)
        for name, members in structs.items()
        for field, member in members.items()
    }
    for member in ("total", "used", "reserved"):
        readings[f"fb.{member}"] = _getter("nvmlDeviceGetMemoryInfo", nv.nvmlMemory_v2, part=member)
    return readings


def _filled_members() -> dict[str, Reading]:
    """Fields of structs that the caller brings."""
    sram = {
        "aggregate_parity": "aggregateUncParity",
        "aggregate_secded": "aggregateUncSecDed",
        "aggregate_corrected": "aggregateCor",
        "volatile_parity": "volatileUncParity",
        "volatile_secded": "volatileUncSecDed",
        "volatile_corrected": "volatileCor",
        "bucket_l2": "aggregateUncBucketL2",
        "bucket_sm": "aggregateUncBucketSm",
        "bucket_pcie": "aggregateUncBucketPcie",
        "bucket_mcu": "aggregateUncBucketMcu",
        "bucket_other": "aggregateUncBucketOther",
        "threshold_exceeded": "bThresholdExceeded",
    }
    platform = {
        "slot_number": "slotNumber",
        "tray_index": "trayIndex",
        "host_id": "hostId",
        "peer_type": "peerType",
        "module_id": "moduleId",
    }
    fabric = {
        "status": "status",
        "clique": "cliqueId",
        "state": "state",
        "health_mask": "healthMask",
        "health_summary": "healthSummary",
    }
    groups: tuple[tuple[str, str, Callable[[], Any], dict[str, str]], ...] = (
        ("sram", "nvmlDeviceGetSramEccErrorStatus", nv.c_nvmlEccSramErrorStatus_v1_t, sram),
        ("platform", "nvmlDeviceGetPlatformInfo", nv.c_nvmlPlatformInfo_v2_t, platform),
        ("fabric", "nvmlDeviceGetGpuFabricInfoV", nv.c_nvmlGpuFabricInfo_v3_t, fabric),
    )
    return {
        f"{group}.{field}": _filled(function, struct, member)
        for group, function, struct, members in groups
        for field, member in members.items()
    }


def _indexed() -> dict[str, Reading]:
    """Fields that a number in the call picks."""
    readings: dict[str, Reading] = {"temperature_c": _getter("nvmlDeviceGetTemperature", 0)}
    for k, name in enumerate(CLOCKS):
        for prefix, function in (
            ("clock", "ClockInfo"),
            ("max_clock", "MaxClockInfo"),
            ("app_clock", "ApplicationsClock"),
            ("default_app_clock", "DefaultApplicationsClock"),
        ):
            readings[f"{prefix}.{name}"] = _getter(f"nvmlDeviceGet{function}", k)
    for k, name in enumerate(("shutdown", "slowdown", "mem_max", "gpu_max")):
        readings[f"threshold.{name}"] = _getter("nvmlDeviceGetTemperatureThreshold", k)
    for k, name in enumerate(("oem", "ecc", "power")):
        readings[f"inforom.{name}"] = _getter("nvmlDeviceGetInforomVersion", k)
    for k, name in enumerate(("tx", "rx")):
        readings[f"pcie.{name}_kbps"] = _getter("nvmlDeviceGetPcieThroughput", k)
    readings["gsp.version"] = lambda handle: nv.nvmlDeviceGetGspFirmwareVersion(handle).decode()
    readings["fan_speed.0"] = _getter("nvmlDeviceGetFanSpeed_v2", 0)
    return readings


def _ecc() -> dict[str, Reading]:
    readings: dict[str, Reading] = {}
    for e, error in enumerate(("corrected", "uncorrected")):
        for c, life in enumerate(("volatile", "aggregate")):
            head = f"ecc.{error}.{life}"
            readings[f"{head}.total"] = _getter("nvmlDeviceGetTotalEccErrors", e, c)
            for p, place in enumerate(ECC_PLACES):
                readings[f"{head}.{place}"] = _getter("nvmlDeviceGetMemoryErrorCounter", e, c, p)
    return readings


def _links(links: int = 18) -> dict[str, Reading]:
    readings: dict[str, Reading] = {}
    for link in range(links):
        head = f"nvlink.{link}"
        readings[f"{head}.state"] = _getter("nvmlDeviceGetNvLinkState", link)
        readings[f"{head}.version"] = _getter("nvmlDeviceGetNvLinkVersion", link)
        readings[f"{head}.remote_type"] = _getter("nvmlDeviceGetNvLinkRemoteDeviceType", link)
        readings[f"{head}.remote_bus"] = _getter("nvmlDeviceGetNvLinkRemotePciInfo", link, part="bus")
        for k in range(6):
            readings[f"{head}.capability.{k}"] = _getter("nvmlDeviceGetNvLinkCapability", link, k)
        for k in range(5):
            readings[f"{head}.error.{k}"] = _getter("nvmlDeviceGetNvLinkErrorCounter", link, k)
    return readings


READINGS: dict[str, Reading] = _simple() | _parts() | _members() | _filled_members() | _indexed() | _ecc() | _links()

ALIASES = {  # field ids that answer with another call's value
    "memory_temperature_c": 82,
    "energy_mj": 83,
    "power_instant_mw": 186,
    "nvlink.count": 91,
    "pcie.replay": 94,
    "remap.correctable": 142,
    "remap.uncorrectable": 143,
    "remap.pending": 144,
    "remap.failed": 145,
    "power_usage_mw": 185,
    "power_limit_mw": 192,
    "power_enforced_limit_mw": 190,
}


def read(handle: Handle, name: str) -> Any:
    """The value of one field of the scenario, through pynvml."""
    if name.startswith("field."):
        return field_value(handle, name)
    if name in READINGS:
        return READINGS[name](handle)
    return field_value(handle, f"field.{ALIASES[name]}")
