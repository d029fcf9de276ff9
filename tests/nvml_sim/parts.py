"""Groups of values that models are made of; a number is, where its range allows, no other field's number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.nvml_sim.device import Device, Value

MIB = 1 << 20
LINK_ERRORS = range(5)
ECC_PLACES = ("l1", "l2", "dram", "register_file", "texture", "texture_shm", "cbu", "sram")
CLOCKS = ("graphics", "sm", "mem", "video")
GPM_PERCENT = (
    "graphics_util",
    "sm_util",
    "sm_occupancy",
    "integer_util",
    "any_tensor_util",
    "dfma_tensor_util",
    "hmma_tensor_util",
    "dmma_tensor_util",
    "imma_tensor_util",
    "dram_bw_util",
    "fp64_util",
    "fp32_util",
    "fp16_util",
)
GPM_RATES = ("pcie_tx", "pcie_rx", "nvlink_rx", "nvlink_tx")


@dataclass
class Board:
    """Collects a GPU's values; every number given out differs from the others of this GPU and of its neighbours."""

    index: int
    gpu: Device = field(default_factory=Device)
    taken: set[int] = field(default_factory=set)

    def state(self, **values: Value) -> None:
        """Values that need not be distinct; __ stands for a dot."""
        self.gpu.values.update({name.replace("__", "."): value for name, value in values.items()})

    def number(self, name: str, base: int) -> None:
        """base + a number that only this field of this GPU has; for ranges of some 10,000 and more."""
        self._distinct(name, base + self._own())

    def mebibytes(self, name: str, low: int) -> None:
        """An amount of memory, hardly more than `low`."""
        self._distinct(name, (low + self.index) * MIB)

    def share(self, name: str, base: float) -> None:
        """A percentage with a fraction that only this field of this GPU has."""
        self._distinct(name, round(base + self._own() / 1e5, 5))

    def small(self, name: str, low: int, high: int) -> None:
        """A free number between the two, moving with the GPU's index."""
        span = high - low + 1
        for step in range(span):
            value = low + (self.index * 5 + step) % span
            if value not in self.taken:
                self.taken.add(value)
                return self._distinct(name, value)
        raise ValueError(f"no number left for {name} in {low}..{high}")

    def _own(self) -> int:
        return self.index * 1000 + len(self.gpu.distinct) + 1

    def _distinct(self, name: str, value: Value) -> None:
        self.gpu.values[name] = value
        self.gpu.distinct.add(name)

    def finish(self, overrides: Mapping[str, Value] | None) -> Device:
        """The GPU, with what the caller wants otherwise."""
        return self.gpu.update(overrides or {})


def identity(board: Board, name: str, part: str) -> None:
    """Who it is and where it sits."""
    i = board.index
    board.state(
        name=name,
        uuid=f"GPU-{i:08x}-5a1e-4000-8000-{0xF1EE70000000 + i:012x}",
        serial=f"16523{24000000 + i * 137:08d}",
        board_part_number=f"692-{part}-{i:04d}-000",
        vbios_version=f"96.00.{i:02X}.00.01",
        minor_number=i,
        inforom__image=f"G520.0200.{i:02d}.05",
        inforom__oem=f"2.{i}",
        inforom__ecc=f"7.{i + 100}",
        inforom__power=f"1.{i + 200}",
        multi_gpu_board=0,
        bus_type=1,
        pci__domain=0,
        pci__bus=0x1B + 0x10 * (i % 14),
        pci__device=i // 14,
        display_mode=0,
        display_active=0,
        compute_mode=0,
        persistence_mode=1,
        power_management_mode=1,
        processes=1,
        process_utilization=1,
    )
    board.number("board_id", 0x10000)
    board.number("pci.device_id", 0x23300000)
    board.number("pci.subsystem_id", 0x16C10000)
    board.number("irq_num", 20_000)


def power(board: Board, watts: int) -> None:
    """Limits and draw."""
    for name, share in (
        ("limit", 90),
        ("default_limit", 100),
        ("min_limit", 30),
        ("max_limit", 99),
        ("enforced_limit", 88),
        ("usage", 45),
    ):
        board.number(f"power_{name}_mw", watts * share * 10)


def thermals(board: Board) -> None:
    """Temperatures, thresholds, fans left out."""
    board.small("temperature_c", 31, 72)
    for name, low in (("shutdown", 95), ("slowdown", 90), ("mem_max", 105), ("gpu_max", 87)):
        board.small(f"threshold.{name}", low, low + 40)


def clocks(board: Board, top: int) -> None:
    """Clocks now, at most and as applications set them."""
    for prefix, low in (("clock", 600), ("max_clock", top), ("app_clock", 900), ("default_app_clock", 1200)):
        for name in CLOCKS:
            board.small(f"{prefix}.{name}", low, low + 290)
    board.state(performance_state=0, clocks_event_reasons=0x4, supported_clocks_event_reasons=0x1FF)


def load(board: Board, engines: tuple[str, ...] = ("encoder", "decoder", "jpg", "ofa")) -> None:
    """Utilisation of the GPU, its memory and its engines."""
    for name in ("gpu", "memory", *engines):
        board.small(f"util.{name}", 5, 99)
    for name in engines:
        board.number(f"util.{name}_period_us", 100_000)
    for name in ("sessions", "fps", "latency_us"):
        board.small(f"encoder.{name}", 1, 220)


def memory(board: Board, total_mib: int) -> None:
    """Framebuffer and BAR1. As nvidia-smi shows it, used excludes reserved: total = reserved + used + free."""
    for name, low in (
        ("fb.total", total_mib),
        ("fb.used", total_mib // 3),
        ("fb.reserved", total_mib // 100),
        ("bar1.total", total_mib * 3 // 2),
        ("bar1.used", total_mib // 50),
    ):
        board.mebibytes(name, low)


def pcie(board: Board, gen: int) -> None:
    """The link, its traffic and its replays."""
    board.state(
        pcie__gen=gen,
        pcie__width=16,
        pcie__max_gen=gen,
        pcie__max_width=16,
        pcie__gpu_max_gen=gen,
        pcie__max_speed=gen,
        pcie__speed_mbps={3: 8000, 4: 16000, 5: 32000, 6: 64000}[gen],
    )
    board.number("pcie.tx_kbps", 2_100_000)
    board.number("pcie.rx_kbps", 3_300_000)
    board.number("pcie.replay", 40_000)


def ecc(board: Board) -> None:
    """Error counters by kind, life and place; remapped rows."""
    board.state(ecc_mode__current=1, ecc_mode__pending=1, ecc_mode__default=1, remap__pending=0, remap__failed=0)
    for kind in ("corrected", "uncorrected"):
        for life in ("volatile", "aggregate"):
            for place in ("total", *ECC_PLACES):
                board.number(f"ecc.{kind}.{life}.{place}", 50_000)
    for name in ("correctable", "uncorrectable"):
        board.small(f"remap.{name}", 1, 400)
    for name in ("max", "high", "partial", "low", "none"):
        board.number(f"remap.histogram.{name}", 600_000)


def sram(board: Board) -> None:
    """The finer SRAM error status of Ampere and newer."""
    board.state(sram__threshold_exceeded=0)
    for name in (
        "aggregate_parity",
        "aggregate_secded",
        "aggregate_corrected",
        "volatile_parity",
        "volatile_secded",
        "volatile_corrected",
        "bucket_l2",
        "bucket_sm",
        "bucket_pcie",
        "bucket_mcu",
        "bucket_other",
    ):
        board.number(f"sram.{name}", 70_000)


def retired_pages(board: Board) -> None:
    """Pages retired by older boards (newer ones remap rows)."""
    board.state(retired__pending=0)
    for k in range(2 + board.index % 3):
        board.gpu.retire(0x1000 * (board.index * 100 + k + 1), 1_600_000_000 + board.index * 100 + k, double_bit=False)
    board.gpu.retire(0x1000 * (board.index * 100 + 90), 1_600_000_000 + board.index * 100 + 90, double_bit=True)


def nvlink(board: Board, links: int, version: int) -> None:
    """Links, their states, errors and byte counts."""
    board.state(nvlink__count=links)
    for link in range(links):
        head = f"nvlink.{link}"
        board.gpu.update(
            {
                f"{head}.state": 1,
                f"{head}.version": version,
                f"{head}.remote_type": 2,
                f"{head}.remote_bus": 0x80 + link,
                f"field.165.{link}": 1,
                f"field.166.{link}": version,
            }
        )
        board.gpu.update({f"{head}.capability.{which}": 1 for which in range(6)})
        for which in LINK_ERRORS:
            board.number(f"{head}.error.{which}", 100_000)
        for number in (161, 162, 163):
            board.number(f"field.{number}.{link}", 200_000)
        for number in (138, 139, 140, 141):
            board.number(f"field.{number}.{link}", 3_000_000_000 + number * 1_000_000)
    for number in (138, 139, 140, 141):
        board.number(f"field.{number}.all", 60_000_000_000 + number * 1_000_000)


def gpm(board: Board) -> None:
    """Profiling metrics of Hopper and newer."""
    board.state(gpm__supported=1)
    for n, name in enumerate(GPM_PERCENT):
        board.share(f"gpm.{name}", 5.0 + 7 * n)
    for name in GPM_RATES:
        board.number(f"gpm.{name}", 30_000)
    for number in (30, 40, 50):
        board.share(f"gpm.{number}", float(number))
