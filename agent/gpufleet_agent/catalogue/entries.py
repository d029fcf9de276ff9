"""The metrics themselves. A name, a step and a width never change once released: a change is a new name."""

from fractions import Fraction

from gpufleet_agent.catalogue.metric import Cadence, Kind, Metric, Rollup, Unit, Width

_PLAIN = Fraction(1)
_BASIS_POINT = Fraction(1, 100)
_KIB = Fraction(1024)

# What a driver tells of a part of a GPU as it does of a whole one.
_OF_PARTITIONS = frozenset(
    (
        *("gpu_utilization", "sm_active", "sm_occupancy", "tensor_active"),
        *("fp64_active", "fp32_active", "fp16_active", "dram_active"),
        *("fb_used", "fb_free", "fb_reserved", "compute_processes"),
    )
)

# What ails a GPU's part of the NVLink fabric; NVML's health mask has two bits or more for each.
_FABRIC_TROUBLE = (
    (0x1, "degraded bandwidth"),
    (0x2, "route recovery in progress"),
    (0x4, "unhealthy route"),
    (0x8, "access timeout recovery in progress"),
    (0x10, "incorrect configuration"),
    (0x20, "no partition assigned"),
    (0x40, "global fabric manager not connected"),
)
# As many as any GPU has; others are shown by their number.
_LINKS = tuple((1 << link, f"link {link}") for link in range(18))

# NVML's clock event reasons (nvmlClocksEventReasons), by bit.
_CLOCK_EVENTS = (
    (0x1, "idle"),
    (0x2, "application clocks setting"),
    (0x4, "software power cap"),
    (0x8, "hardware slowdown"),
    (0x10, "sync boost"),
    (0x20, "software thermal slowdown"),
    (0x40, "hardware thermal slowdown"),
    (0x80, "hardware power brake slowdown"),
    (0x100, "display clock setting"),
)


def _gauge(name: str, unit: Unit, step: Fraction, width: Width, rollup: Rollup, help: str) -> Metric:
    parts = name in _OF_PARTITIONS
    return Metric(name, unit, Kind.GAUGE, Cadence.EVERY_SAMPLE, step, width, rollup, help, of_partitions=parts)


def _share(name: str, help: str) -> Metric:
    return _gauge(name, Unit.PERCENT, _BASIS_POINT, 2, Rollup.MEAN, help)


def _traffic(name: str, width: Width, help: str) -> Metric:
    return Metric(name, Unit.BYTE, Kind.INCREMENT, Cadence.EVERY_SAMPLE, _KIB, width, Rollup.SUM, help)


def _state(name: str, unit: Unit, width: Width, help: str, step: Fraction = _PLAIN) -> Metric:
    return Metric(name, unit, Kind.STATE, Cadence.ON_CHANGE, step, width, Rollup.LAST, help)


def _count(name: str, help: str) -> Metric:
    return _state(name, Unit.COUNT, 8, help)


def _flag(name: str, help: str) -> Metric:
    return _state(name, Unit.FLAG, 2, help)


def _flags(name: str, width: Width, flags: tuple[tuple[int, str], ...], help: str) -> Metric:
    return Metric(name, Unit.FLAGS, Kind.STATE, Cadence.ON_CHANGE, _PLAIN, width, Rollup.LAST, help, flags)


def _level(name: str, help: str, width: Width = 2) -> Metric:
    return _state(name, Unit.LEVEL, width, help)


# fmt: off
METRICS: tuple[Metric, ...] = (
    _share("gpu_utilization", "Share of the time in which at least one kernel ran, however small."),
    _share("memory_copy_utilization", "Share of the time in which device memory was read or written."),
    _share("encoder_utilization", "Share of the time in which the video encoder was busy."),
    _share("decoder_utilization", "Share of the time in which the video decoder was busy."),
    _share("jpeg_utilization", "Share of the time in which the JPEG engine was busy."),
    _share("ofa_utilization", "Share of the time in which the optical flow accelerator was busy."),
    _share("sm_active", "Share of the time in which a multiprocessor had at least one warp, mean of all (GPM)."),
    _share("sm_occupancy", "Resident warps as a share of the most that fit, mean of all multiprocessors (GPM)."),
    _share("tensor_active", "Share of the time in which the tensor pipes were active (GPM)."),
    _share("fp64_active", "Share of the time in which the FP64 pipes were active (GPM)."),
    _share("fp32_active", "Share of the time in which the FP32 pipes were active (GPM)."),
    _share("fp16_active", "Share of the time in which the FP16 pipes were active (GPM)."),
    _share("dram_active", "Share of the peak device memory bandwidth in use (GPM)."),
    _gauge("fb_used", Unit.BYTE, _KIB, 4, Rollup.MEAN, "Device memory in use, as the driver counts it."),
    _gauge("fb_free", Unit.BYTE, _KIB, 4, Rollup.MEAN, "Device memory that is free."),
    _gauge("fb_reserved", Unit.BYTE, _KIB, 4, Rollup.MEAN, "Device memory that driver and firmware keep."),
    _gauge("bar1_used", Unit.BYTE, _KIB, 4, Rollup.MEAN, "BAR1 address space in use."),
    _gauge("power", Unit.WATT, Fraction(1, 10), 4, Rollup.MEAN,
           "Board power: the energy counter over the interval, or the driver's own reading where there is none."),
    Metric("energy", Unit.JOULE, Kind.INCREMENT, Cadence.EVERY_SAMPLE, Fraction(1, 1000), 4, Rollup.SUM,
           "Energy used in the interval, from the energy counter."),
    _gauge("gpu_temperature", Unit.CELSIUS, _PLAIN, 2, Rollup.MAX, "Temperature of the GPU die."),
    _gauge("memory_temperature", Unit.CELSIUS, _PLAIN, 2, Rollup.MAX, "Temperature of the device memory."),
    _gauge("temperature_margin", Unit.CELSIUS, _PLAIN, 2, Rollup.MIN,
           "Degrees left before the GPU slows itself down; below zero it has begun to."),
    _gauge("fan_speed", Unit.PERCENT, _BASIS_POINT, 2, Rollup.MEAN, "Fan speed asked for, as a share of its maximum."),
    _gauge("sm_clock", Unit.MEGAHERTZ, _PLAIN, 2, Rollup.MEAN, "Clock of the multiprocessors."),
    _gauge("memory_clock", Unit.MEGAHERTZ, _PLAIN, 2, Rollup.MEAN, "Clock of the device memory."),
    _gauge("graphics_clock", Unit.MEGAHERTZ, _PLAIN, 2, Rollup.MEAN, "Clock of the graphics engine."),
    _gauge("video_clock", Unit.MEGAHERTZ, _PLAIN, 2, Rollup.MEAN, "Clock of the video engines."),
    Metric("performance_state", Unit.LEVEL, Kind.STATE, Cadence.EVERY_SAMPLE, _PLAIN, 2, Rollup.MIN,
           "Performance state, 0 (fastest) to 15 (slowest)."),
    Metric("clock_event_reasons", Unit.FLAGS, Kind.STATE, Cadence.EVERY_SAMPLE, _PLAIN, 4, Rollup.ANY,
           "What holds the clocks down (throttle reasons), a bit each.", _CLOCK_EVENTS),
    _share("clocks_held_by_power", "Share of the time in which a power limit held the clocks down."),
    _share("clocks_held_by_heat", "Share of the time in which heat held the clocks down."),
    _share("clocks_held_by_power_brake", "Share of the time in which the hardware's power brake held the clocks down."),
    _gauge("compute_processes", Unit.COUNT, _PLAIN, 2, Rollup.MAX, "Processes with a compute context on the GPU."),
    _traffic("pcie_tx_bytes", 4, "Bytes the GPU sent over PCIe in the interval."),
    _traffic("pcie_rx_bytes", 4, "Bytes the GPU received over PCIe in the interval."),
    _traffic("nvlink_tx_bytes", 8, "Bytes the GPU sent over all its NVLinks in the interval."),
    _traffic("nvlink_rx_bytes", 8, "Bytes the GPU received over all its NVLinks in the interval."),
    _state("power_limit", Unit.WATT, 4, "Power limit the driver enforces now.", Fraction(1, 10)),
    _state("pcie_link_generation", Unit.LEVEL, 2, "Generation at which the PCIe link runs now; idle GPUs lower it."),
    _state("pcie_link_width", Unit.COUNT, 2, "Lanes of the PCIe link in use now."),
    _count("pcie_replays", "PCIe packets sent again since the driver was loaded."),
    _state("nvlink_links_up", Unit.COUNT, 2, "NVLinks that are up."),
    _flags("nvlink_links_down", 8, _LINKS, "NVLinks that are not up, a bit each."),
    _count("nvlink_crc_flit_errors", "NVLink flit CRC errors of all links."),
    _count("nvlink_crc_data_errors", "NVLink data CRC errors of all links."),
    _count("nvlink_replay_errors", "NVLink replays of all links."),
    _count("nvlink_recovery_errors", "NVLink recoveries of all links."),
    _count("nvlink_ecc_errors", "NVLink ECC errors of all links."),
    _count("nvlink_receive_errors", "Packets with errors that all NVLinks received (Blackwell and newer)."),
    _count("nvlink_effective_errors", "NVLink errors left after correction, of all links (Blackwell and newer)."),
    _count("nvlink_failed_recoveries", "NVLink recoveries that failed, of all links (Blackwell and newer)."),
    _level("fabric_state", "GPU and NVLink fabric: 1 not registered yet, 2 registering, 3 registered. "
           "What stays below 3 cannot run CUDA on a board with NVSwitches."),
    _level("fabric_status", "NVML's return code of registering with the fabric, 0 where that went well.", 4),
    _flags("fabric_trouble", 4, _FABRIC_TROUBLE, "What ails the GPU's part of the NVLink fabric, a bit each."),
    _count("ecc_sram_corrected_volatile", "Corrected SRAM ECC errors since the driver was loaded."),
    _count("ecc_sram_uncorrected_volatile", "Uncorrected SRAM ECC errors since the driver was loaded."),
    _count("ecc_dram_corrected_volatile", "Corrected DRAM ECC errors since the driver was loaded."),
    _count("ecc_dram_uncorrected_volatile", "Uncorrected DRAM ECC errors since the driver was loaded."),
    _count("ecc_sram_corrected", "Corrected SRAM ECC errors in the board's life."),
    _count("ecc_sram_uncorrected", "Uncorrected SRAM ECC errors in the board's life."),
    _count("ecc_dram_corrected", "Corrected DRAM ECC errors in the board's life."),
    _count("ecc_dram_uncorrected", "Uncorrected DRAM ECC errors in the board's life."),
    _flag("sram_threshold_exceeded", "So many uncorrectable SRAM errors that the board is to be replaced."),
    _count("remapped_rows_correctable", "Memory rows remapped after correctable errors."),
    _count("remapped_rows_uncorrectable", "Memory rows remapped after uncorrectable errors."),
    _flag("remap_pending", "A row remap waits for the next GPU reset."),
    _flag("remap_failed", "A row remap failed; the board is to be replaced."),
    _count("remap_banks_full_spares", "Memory banks that have all their spare rows."),
    _count("remap_banks_high_spares", "Memory banks that have most of their spare rows."),
    _count("remap_banks_partial_spares", "Memory banks that have some of their spare rows."),
    _count("remap_banks_low_spares", "Memory banks that have few of their spare rows left."),
    _count("remap_banks_no_spares", "Memory banks that have no spare row left: the next remap there fails."),
    _count("retired_pages_single_bit", "Memory pages retired after repeated single-bit errors (before row remapping)."),
    _count("retired_pages_double_bit", "Memory pages retired after a double-bit error (before row remapping)."),
    _flag("retirement_pending", "A page retirement waits for the next reboot."),
    _level("recovery_action", "What the driver asks for: 0 nothing, 1 reset of the GPU, 2 reboot of the node, 3 drain "
           "of peers, 4 drain and reset, 5 recovery of the IMEX domain, 6 reset of the bus, 7 reboot of the system."),
)
# fmt: on
