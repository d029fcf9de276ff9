"""Factory models of GPUs, and the shapes that make one move."""

from __future__ import annotations

from collections.abc import Mapping

from tests.nvml_sim import parts
from tests.nvml_sim.device import Device, Value, counter, error, pulse, sine
from tests.nvml_sim.parts import MIB, Board

Overrides = Mapping[str, Value] | None

HOPPER, BLACKWELL, AMPERE, PASCAL = 9, 10, 7, 4
FAULT_COUNTERS = ("ecc.uncorrected", "remap.", "sram.", "nvlink.", "pcie.replay")


def h100_sxm(index: int = 0, overrides: Overrides = None) -> Device:
    """An H100 SXM5 80 GB: all that Hopper gives."""
    board = Board(index)
    parts.identity(board, "NVIDIA H100 80GB HBM3", "2G520")
    board.state(architecture=HOPPER, compute_major=9, compute_minor=0, brand=14)
    _server_board(board, watts=700, links=18, nvlink_version=6)
    parts.clocks(board, 1980)
    parts.memory(board, 81_559)
    parts.pcie(board, 5)
    parts.gpm(board)
    return board.finish(overrides)


def b200(index: int = 0, overrides: Overrides = None) -> Device:
    """A B200: as Hopper, with the platform's chassis and slot, and NVLink 5's own error counters."""
    board = Board(index)
    parts.identity(board, "NVIDIA B200", "2G548")
    board.state(architecture=BLACKWELL, compute_major=10, compute_minor=0, brand=14)
    _server_board(board, watts=1000, links=18, nvlink_version=7)
    parts.clocks(board, 1965)
    parts.memory(board, 183_359)
    parts.pcie(board, 6)
    parts.gpm(board)
    _platform(board)
    for link in range(18):
        for number in range(201, 223):
            board.number(f"field.{number}.{link}", 900_000)
    return board.finish(overrides)


def a100_mig(index: int = 0, overrides: Overrides = None) -> Device:
    """An A100 80 GB cut into four GPU instances; the largest holds two compute instances."""
    board = Board(index)
    parts.identity(board, "NVIDIA A100-SXM4-80GB", "2G506")
    board.state(architecture=AMPERE, compute_major=8, compute_minor=0, brand=14)
    _server_board(board, watts=400, links=12, nvlink_version=4)
    parts.clocks(board, 1410)
    parts.memory(board, 81_920)
    parts.pcie(board, 4)
    _cut(board, INSTANCES)
    return board.finish(overrides)


def h100_mig(index: int = 0, overrides: Overrides = None, layout: Layout | None = None) -> Device:
    """An H100 80 GB, cut like that A100 or in another layout: GPM tells of GPU instances, and not of the whole."""
    board = Board(index)
    parts.identity(board, "NVIDIA H100 80GB HBM3", "2G520")
    board.state(architecture=HOPPER, compute_major=9, compute_minor=0, brand=14)
    _server_board(board, watts=700, links=18, nvlink_version=6)
    parts.clocks(board, 1980)
    parts.memory(board, 81_559)
    parts.pcie(board, 5)
    board.state(gpm__supported=1)
    _cut(board, INSTANCES if layout is None else layout)
    for number, instance in enumerate(board.gpu.instances):
        # Of a GPU instance the driver gives what its first compute instance has here.
        instance.update({f"gpm.{name}": 3.0 + 11 * number + 2 * n for n, name in enumerate(GPM_OF_INSTANCES)})
    return board.finish(overrides)


def old_card(index: int = 0, overrides: Overrides = None) -> Device:
    """A GeForce of the Pascal years: no ECC, serial, energy, NVLink, GPM, MIG, remapping, GSP or part number."""
    board = Board(index)
    parts.identity(board, "NVIDIA GeForce GTX 1080", "1G413")
    board.state(architecture=PASCAL, compute_major=6, compute_minor=1, brand=5, num_fans=1, display_active=1)
    parts.power(board, 180)
    parts.thermals(board)
    parts.clocks(board, 1911)
    parts.load(board, ("encoder", "decoder"))
    parts.memory(board, 8_192)
    parts.pcie(board, 3)
    board.small("fan_speed", 27, 90)
    board.small("fan_speed.0", 27, 90)
    for name in (
        "serial",
        "board_part_number",
        "inforom.ecc",
        "inforom.oem",
        "inforom.power",
        "inforom.image",
        "pcie.speed_mbps",
        "threshold.mem_max",
    ):
        board.gpu.values.pop(name)
        board.gpu.distinct.discard(name)
    return board.finish(overrides)


def _server_board(board: Board, watts: int, links: int, nvlink_version: int) -> None:
    """What the boards of HGX machines have in common; of nvmlNvlinkVersion_t 4 is NVLink 3.0, 6 is 4.0, 7 is 5.0."""
    parts.power(board, watts)
    parts.thermals(board)
    parts.load(board)
    parts.ecc(board)
    parts.sram(board)
    parts.nvlink(board, links, nvlink_version)
    board.state(
        module_id=board.index + 1,
        numa_node=board.index // 4,
        gsp__version="580.95.05",
        gsp__enabled=1,
        gsp__default=1,
        memory_bus_width=5120,
        mig_mode__current=0,
        mig_mode__pending=0,
        mig__max_count=7,
        num_fans=0,
        power_source=0,
        supported_event_types=0x1F,
        num_gpu_cores=16_896,
    )
    board.number("energy_mj", 900_000_000_000)
    board.number("power_instant_mw", watts * 510)
    board.number("module_power_mw", watts * 620)
    board.small("memory_temperature_c", 33, 84)
    board.small("margin_temperature_c", 12, 60)
    board.state(
        fabric__cluster="0x" + "c1a5" * 8,
        fabric__status=0,
        fabric__state=3,
        fabric__clique=board.index % 2,
        fabric__health_mask=0x2,
        fabric__health_summary=1,
    )
    _fields(board)


def _fields(board: Board) -> None:
    """Fields that no other call gives."""
    for number in (
        7,
        8,
        9,
        10,
        11,
        12,
        13,
        14,
        38,
        45,
        52,
        59,
        66,
        73,
        74,
        75,
        76,
        77,
        78,
        79,
        80,
        81,
        95,
        169,
        *range(173, 184),
        269,
        270,
        271,
    ):
        board.number(f"field.{number}", 300_000)
    for number in (197, 198):
        board.number(f"field.{number}", 3_900_000_000)
    for k, number in enumerate((193, 194, 195, 196)):
        board.gpu.set(f"field.{number}", -(board.index * 4 + k + 2))
    board.state(field__90=26_562, field__164=26_562, field__199=1, field__226=0, field__227=0, field__230=0)


def _platform(board: Board) -> None:
    """Where the board sits; numbers beyond 127 are what a careless binding stumbles over."""
    i = board.index
    board.state(
        platform__ib_guid=f"0x{'f1ee7000':s}{i:024x}",
        platform__chassis_serial=f"CHASSIS{i:06d}",
        platform__slot_number=0x80 + i,
        platform__tray_index=0x15 + i,
        platform__host_id=0x40 + i,
        platform__peer_type=1,
        platform__module_id=i + 1,
    )


PROFILES = (  # enum, id, name, slices, memory MiB, multiprocessors, most instances
    (0, 19, "1g.10gb", 1, 9_728, 14, 7),
    (1, 14, "2g.20gb", 2, 19_968, 28, 3),
    (2, 9, "3g.40gb", 3, 40_192, 42, 2),
    (3, 5, "4g.40gb", 4, 40_192, 56, 1),
    (4, 0, "7g.80gb", 7, 80_896, 98, 1),
)
INSTANCES = (  # gpu instance, compute instance, profile id, name, gpu slices, compute slices, memory MiB, start
    (1, 0, 9, "1c.3g.40gb", 3, 1, 40_192, 0),
    (1, 1, 9, "2c.3g.40gb", 3, 2, 40_192, 0),
    (5, 0, 14, "2g.20gb", 2, 2, 19_968, 4),
    (11, 0, 19, "1g.10gb", 1, 1, 9_728, 6),
    (13, 0, 19, "1g.10gb", 1, 1, 9_729, 7),
)


Layout = tuple[tuple[int, int, int, str, int, int, int, int], ...]
SEVENTHS: Layout = tuple((7 + k, 0, 19, "1g.10gb", 1, 1, 9_728, k) for k in range(7))
GPM_OF_INSTANCES = (
    "graphics_util",
    "sm_util",
    "sm_occupancy",
    "any_tensor_util",
    "fp64_util",
    "fp32_util",
    "fp16_util",
    "dram_bw_util",
)


def _cut(board: Board, layout: Layout) -> None:
    """MIG is on: no utilisation of the whole GPU, and these instances."""
    board.state(mig_mode__current=1, mig_mode__pending=1, mig__max_count=7)
    for name in [n for n in board.gpu.values if n.startswith("util.")] + ["process_utilization"]:
        board.gpu.set(name, error("not_supported"))
        board.gpu.distinct.discard(name)
    _profiles(board)
    _instances(board, layout)


def _profiles(board: Board) -> None:
    for number, ident, name, slices, mib, sms, most in PROFILES:
        head = f"gi_profile.{number}"
        board.gpu.update(
            {
                f"{head}.id": ident,
                f"{head}.name": f"MIG {name}",
                f"{head}.slices": slices,
                f"{head}.memory_mb": mib,
                f"{head}.multiprocessors": sms,
                f"{head}.instances": most,
                f"{head}.p2p": 0,
                f"{head}.copy_engines": slices,
                f"{head}.decoders": slices // 2,
                f"{head}.encoders": 0,
                f"{head}.jpegs": slices // 7,
                f"{head}.ofas": slices // 7,
            }
        )


def _instances(board: Board, layout: Layout) -> None:
    for k, (gi, ci, profile, name, slices, parts_of, mib, start) in enumerate(layout):
        own = board.index * 100 + k
        board.gpu.instances.append(
            Device(
                {
                    "name": f"{board.gpu.values['name']} MIG {name}",
                    "uuid": f"MIG-{own:08x}-5a1e-5000-8000-{own:012x}",
                    "gpu_instance": gi,
                    "compute_instance": ci,
                    "gpu_instance_profile": profile,
                    "compute_instance_profile": parts_of - 1,
                    "placement.start": start,
                    "placement.size": slices,
                    "fb.total": (mib + own) * MIB,
                    "fb.used": (1000 + own) * MIB,
                    "fb.reserved": (10 + own) * MIB,
                    "bar1.total": (mib + 500 + own) * MIB,
                    "bar1.used": (2 + own) * MIB,
                    "processes": 1,
                    "attr.multiprocessors": 14 * parts_of,
                    "attr.copy_engines": slices,
                    "attr.decoders": slices // 2,
                    "attr.encoders": 0,
                    "attr.jpegs": 0,
                    "attr.ofas": 0,
                    "attr.gpu_slices": slices,
                    "attr.compute_slices": parts_of,
                    "attr.memory_mb": mib + own,
                }
            )
        )


def healthy(gpu: Device) -> Device:
    """The same GPU with every error counter at zero (the models count errors, so that no two numbers agree)."""
    zero = [name for name in gpu.values if name.startswith(FAULT_COUNTERS) and name in gpu.distinct]
    gpu.distinct.difference_update(zero)
    return gpu.update(dict.fromkeys((name for name in zero if "histogram" not in name), 0))


def busy(gpu: Device, phase: float = 0.0) -> Device:
    """The same GPU at work: utilisation, power, temperatures and clocks move, byte and energy counters grow."""
    moving: dict[str, Value] = {
        "util.gpu": sine(80, 15, 60, phase),
        "util.memory": sine(45, 20, 45, phase),
        "temperature_c": sine(62, 6, 300, phase),
        "memory_temperature_c": sine(71, 5, 300, phase),
        "power_usage_mw": sine(450_000, 150_000, 60, phase),
        "power_instant_mw": sine(455_000, 190_000, 7, phase),
        "energy_mj": counter(10**12, 450_000),
        "clock.sm": sine(1700, 100, 30, phase),
        "gpm.sm_util": pulse(20, 95, 4, 0.7),
        "gpm.any_tensor_util": pulse(0, 80, 4, 0.6),
        "gpm.dram_bw_util": sine(40, 20, 13, phase),
        "pcie.tx_kbps": sine(3e6, 2e6, 20, phase),
        "pcie.rx_kbps": sine(2e6, 1e6, 25, phase),
        "field.197": counter(10**9, 3.1e9, wrap=32),
        "field.198": counter(10**9, 2.2e9, wrap=32),
        "gpm.pcie_tx": 3.1e9 / MIB,
        "gpm.pcie_rx": 2.2e9 / MIB,
        "field.138.all": counter(10**10, 5e6),
        "field.139.all": counter(10**10, 6e6),
        "clocks_event_reasons": pulse(0, 4, 30, 0.3),
    }
    supported = {name: value for name, value in moving.items() if _is_number(gpu.values.get(name))}
    gpu.distinct.difference_update(supported)
    return gpu.update(supported)


def _is_number(value: Value | None) -> bool:
    return isinstance(value, (int, float))
