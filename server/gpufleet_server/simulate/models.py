"""The GPU models a simulated fleet is made of: what each can do, draw and tell."""

from __future__ import annotations

from dataclasses import dataclass

_GPM = ("sm_active", "sm_occupancy", "tensor_active", "fp64_active", "fp32_active", "fp16_active", "dram_active")
# What only the links of Blackwell and newer count, what a GPU has that registers with a fabric (Hopper and newer), and
# what takes a newer driver than the simulated nodes have.
_NEWER_LINK = ("nvlink_receive_errors", "nvlink_effective_errors", "nvlink_failed_recoveries")
_FABRIC = ("fabric_state", "fabric_status", "fabric_trouble")
_NEWER_DRIVER = ("clocks_held_by_power_brake",)
_NVLINK = (
    *_NEWER_LINK, *_FABRIC,
    "nvlink_tx_bytes", "nvlink_rx_bytes", "nvlink_links_up", "nvlink_crc_flit_errors", "nvlink_crc_data_errors",
    "nvlink_replay_errors", "nvlink_recovery_errors", "nvlink_ecc_errors", "nvlink_links_down",
)  # fmt: skip
_ECC = (
    "sram_threshold_exceeded",
    *(
        f"ecc_{where}_{what}{life}"
        for where in ("sram", "dram")
        for what in ("corrected", "uncorrected")
        for life in ("_volatile", "")
    ),
)
_REMAP = (
    "remapped_rows_correctable", "remapped_rows_uncorrectable", "remap_pending", "remap_failed",
    *(f"remap_banks_{left}_spares" for left in ("full", "high", "partial", "low", "no")),
)  # fmt: skip
_RETIRED = ("retired_pages_single_bit", "retired_pages_double_bit", "retirement_pending")
_PASSIVE = ("fan_speed",)
# Utilisation of the whole GPU is not told while it is partitioned.
MIG_ABSENT = (
    "gpu_utilization", "memory_copy_utilization", "encoder_utilization", "decoder_utilization", "jpeg_utilization",
    "ofa_utilization",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuModel:
    """A GPU model. Memory in MiB, power in W, clocks in MHz, temperatures in °C, `link_rate` in B/s per NVLink.

    `heat` is the rise over the inlet air in °C per W; `absent` names the metrics the model cannot give and
    `untold` the identity fields it does not tell.
    """

    name: str
    architecture: str
    compute_capability: str
    brand: str
    part_number: str
    device_id: str
    subsystem_id: str
    vbios: str
    inforom: str
    memory: int
    reserved: int
    bar1: int
    cores: int
    power_idle: float
    power_limit: float
    power_min: float
    power_max: float
    clock_idle: int
    clock_max: int
    memory_clock_idle: int
    memory_clock: int
    video_clock: int
    slowdown: int
    shutdown: int
    heat: float
    pcie_generation: int
    per_node: int
    nvlinks: int = 0
    nvlink_version: str | None = None
    link_rate: float = 0.0
    mig: bool = False
    absent: tuple[str, ...] = ()
    untold: tuple[str, ...] = ()

    @property
    def steady_clocks(self) -> bool:
        """Whether memory clock and performance state stay up while the GPU idles, as with HBM."""
        return self.memory_clock == self.memory_clock_idle


_NO_TRAY = ("chassis_serial", "tray_index", "slot_number", "host_id")
_NO_FABRIC = ("fabric_cluster", "fabric_clique")
_NO_LINK = ("nvlink_count", "nvlink_version", *_NO_FABRIC)

H100 = GpuModel(
    name="NVIDIA H100 80GB HBM3", architecture="Hopper", compute_capability="9.0", brand="NVIDIA",
    part_number="692-2G520-0200-000", device_id="0x233010DE", subsystem_id="0x16C110DE",
    vbios="96.00.89.00.01", inforom="G520.0200.00.05",
    memory=81559, reserved=603, bar1=131072, cores=16896,
    power_idle=71, power_limit=700, power_min=200, power_max=700,
    clock_idle=345, clock_max=1980, memory_clock_idle=2619, memory_clock=2619, video_clock=1545,
    slowdown=87, shutdown=92, heat=0.062, pcie_generation=5, per_node=8,
    nvlinks=18, nvlink_version="4.0", link_rate=25e9, mig=True,
    absent=(*_NEWER_LINK, *_NEWER_DRIVER, *_PASSIVE, *_RETIRED),
    untold=_NO_TRAY,
)  # fmt: skip

H200 = GpuModel(
    name="NVIDIA H200", architecture="Hopper", compute_capability="9.0", brand="NVIDIA",
    part_number="692-2G525-0220-501", device_id="0x233510DE", subsystem_id="0x18BE10DE",
    vbios="96.00.BC.00.04", inforom="G525.0220.00.03",
    memory=143771, reserved=604, bar1=262144, cores=16896,
    power_idle=76, power_limit=700, power_min=200, power_max=700,
    clock_idle=345, clock_max=1980, memory_clock_idle=3201, memory_clock=3201, video_clock=1545,
    slowdown=87, shutdown=92, heat=0.061, pcie_generation=5, per_node=8,
    nvlinks=18, nvlink_version="4.0", link_rate=25e9, mig=True,
    absent=(*_NEWER_LINK, *_NEWER_DRIVER, *_PASSIVE, *_RETIRED),
    untold=_NO_TRAY,
)  # fmt: skip

B200 = GpuModel(
    name="NVIDIA B200", architecture="Blackwell", compute_capability="10.0", brand="NVIDIA",
    part_number="692-2G525-0250-000", device_id="0x290110DE", subsystem_id="0x199910DE",
    vbios="97.00.82.00.13", inforom="G548.0201.00.06",
    memory=183359, reserved=727, bar1=262144, cores=18944,
    power_idle=140, power_limit=1000, power_min=200, power_max=1000,
    clock_idle=120, clock_max=1965, memory_clock_idle=3996, memory_clock=3996, video_clock=1830,
    slowdown=90, shutdown=95, heat=0.044, pcie_generation=5, per_node=8,
    nvlinks=18, nvlink_version="5.0", link_rate=50e9, mig=True,
    absent=(*_NEWER_DRIVER, *_PASSIVE, *_RETIRED),
)  # fmt: skip

A100_SXM = GpuModel(
    name="NVIDIA A100-SXM4-40GB", architecture="Ampere", compute_capability="8.0", brand="NVIDIA",
    part_number="692-2G506-0200-002", device_id="0x20B010DE", subsystem_id="0x144E10DE",
    vbios="92.00.45.00.05", inforom="G506.0200.00.04",
    memory=40960, reserved=583, bar1=65536, cores=6912,
    power_idle=52, power_limit=400, power_min=100, power_max=400,
    clock_idle=210, clock_max=1410, memory_clock_idle=1215, memory_clock=1215, video_clock=1275,
    slowdown=85, shutdown=92, heat=0.1, pcie_generation=4, per_node=8,
    nvlinks=12, nvlink_version="3.0", link_rate=25e9, mig=True,
    absent=(*_NEWER_LINK, *_FABRIC, *_NEWER_DRIVER, *_GPM, *_PASSIVE, *_RETIRED),
    untold=(*_NO_TRAY, *_NO_FABRIC),
)  # fmt: skip

A100_PCIE = GpuModel(
    name="NVIDIA A100-PCIE-40GB", architecture="Ampere", compute_capability="8.0", brand="NVIDIA",
    part_number="900-21001-0000-000", device_id="0x20F110DE", subsystem_id="0x145F10DE",
    vbios="92.00.25.00.08", inforom="1001.0200.00.03",
    memory=40960, reserved=583, bar1=65536, cores=6912,
    power_idle=34, power_limit=250, power_min=150, power_max=250,
    clock_idle=210, clock_max=1410, memory_clock_idle=1215, memory_clock=1215, video_clock=1275,
    slowdown=85, shutdown=92, heat=0.16, pcie_generation=4, per_node=4,
    mig=True,
    absent=(*_NEWER_DRIVER, *_GPM, *_PASSIVE, *_RETIRED, *_NVLINK),
    untold=(*_NO_TRAY, *_NO_LINK, "module_id"),
)  # fmt: skip

L40S = GpuModel(
    name="NVIDIA L40S", architecture="Ada", compute_capability="8.9", brand="NVIDIA",
    part_number="900-2G133-0080-000", device_id="0x26B910DE", subsystem_id="0x185110DE",
    vbios="95.02.66.00.02", inforom="G133.0242.00.03",
    memory=46068, reserved=617, bar1=65536, cores=18176,
    power_idle=33, power_limit=350, power_min=100, power_max=350,
    clock_idle=210, clock_max=2520, memory_clock_idle=405, memory_clock=9001, video_clock=1965,
    slowdown=88, shutdown=95, heat=0.125, pcie_generation=4, per_node=4,
    absent=(*_NEWER_DRIVER, *_GPM, *_PASSIVE, *_RETIRED, *_NVLINK, "memory_temperature"),
    untold=(*_NO_TRAY, *_NO_LINK, "module_id", "memory_temperature_max", "mig_mode", "mig_mode_pending"),
)  # fmt: skip

GTX_980 = GpuModel(
    name="NVIDIA GeForce GTX 980", architecture="Maxwell", compute_capability="5.2", brand="GeForce",
    part_number="", device_id="0x13C010DE", subsystem_id="0x29781462",
    vbios="84.04.2F.00.80", inforom="",
    memory=4096, reserved=62, bar1=256, cores=2048,
    power_idle=14, power_limit=180, power_min=110, power_max=225,
    clock_idle=135, clock_max=1392, memory_clock_idle=324, memory_clock=3505, video_clock=1281,
    slowdown=96, shutdown=101, heat=0.24, pcie_generation=3, per_node=2,
    absent=(*_NEWER_DRIVER, *_GPM, *_RETIRED, *_NVLINK, *_ECC, *_REMAP, "memory_temperature", "energy",
            "jpeg_utilization", "ofa_utilization", "pcie_tx_bytes", "pcie_rx_bytes", "recovery_action",
            "clocks_held_by_power", "clocks_held_by_heat"),
    untold=(*_NO_TRAY, *_NO_LINK, "module_id", "memory_temperature_max", "serial", "board_part_number",
            "inforom_image_version", "inforom_ecc_version", "inforom_power_version", "ecc_mode", "ecc_mode_pending",
            "mig_mode", "mig_mode_pending", "gsp_firmware_mode", "gsp_firmware_version"),
)  # fmt: skip
