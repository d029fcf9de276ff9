"""Where every metric that is sent on change comes from."""

from __future__ import annotations

from ctypes import c_uint, c_ulonglong

from gpufleet_agent.backends.nvidia.rows import Row
from gpufleet_agent.backends.nvidia.samples import milli
from gpufleet_agent.backends.nvidia.sources import Ask, Call, Field, Get, Links, OverInstances, Source
from gpufleet_agent.catalogue import BY_NAME

_CORRECTED, _UNCORRECTED = 0, 1
_VOLATILE, _AGGREGATE = 0, 1
_DRAM, _SRAM = 2, 7
_SINGLE_BIT, _DOUBLE_BIT = 0, 1
_REMAPPED = Call("nvmlDeviceGetRemappedRows", (c_uint, c_uint, c_uint, c_uint))
_BLACKWELL = 570


def _ecc(name: str, error: int, lifetime: int, place: int, *fields: int) -> Row:
    counter = Get(Call("nvmlDeviceGetMemoryErrorCounter", (c_ulonglong,), (error, lifetime, place)))
    # Of a GPU that MIG cuts, the driver tells what it counted since its load by instances, if at all.
    parted = (OverInstances(counter),) if lifetime == _VOLATILE else ()
    return Row(name, (counter, *(Field(number) for number in fields), *parted))


def _link_errors(name: str, total: int, kind: int, *by_link: Source) -> Row:
    """The total of all links in one field (up to Ampere), then fields by link, then the deprecated getter by link."""
    getter = "nvmlDeviceGetNvLinkErrorCounter"
    return Row(name, (Field(total), *by_link, Links(lambda link: Get(Call(getter, (c_ulonglong,), (link, kind))))))


def _by_link(number: int, since: int = 0) -> Links:
    return Links(lambda link: Field(number, scope=link, since=since))


def _remapped(name: str, number: int, cell: int, most: float | None = None) -> Row:
    return Row(name, (Field(number), Get(_REMAPPED, cell=cell)), most=most)


def _retired(name: str, number: int, cause: int) -> Row:
    return Row(name, (Field(number), Ask("nvmlDeviceGetRetiredPages", (cause,), len)))


ROWS: tuple[Row, ...] = (
    Row("power_limit", (Get(Call("nvmlDeviceGetEnforcedPowerLimit"), convert=milli), Field(190, milli))),
    Row("pcie_link_generation", (Get(Call("nvmlDeviceGetCurrPcieLinkGeneration")),), most=16),
    Row("pcie_link_width", (Get(Call("nvmlDeviceGetCurrPcieLinkWidth")),), most=64),
    Row("pcie_replays", (Get(Call("nvmlDeviceGetPcieReplayCounter")), Field(94))),
    Row("nvlink_links_up", (Links(lambda link: Get(Call("nvmlDeviceGetNvLinkState", (c_uint,), (link,)))),)),
    _link_errors("nvlink_crc_flit_errors", 38, 2, _by_link(163)),
    _link_errors("nvlink_crc_data_errors", 45, 3),
    _link_errors("nvlink_replay_errors", 52, 0, _by_link(161)),
    _link_errors("nvlink_recovery_errors", 59, 1, _by_link(162), _by_link(215, since=_BLACKWELL)),
    _link_errors("nvlink_ecc_errors", 160, 4),
    _ecc("ecc_sram_corrected_volatile", _CORRECTED, _VOLATILE, _SRAM),
    _ecc("ecc_sram_uncorrected_volatile", _UNCORRECTED, _VOLATILE, _SRAM),
    _ecc("ecc_dram_corrected_volatile", _CORRECTED, _VOLATILE, _DRAM, 11),
    _ecc("ecc_dram_uncorrected_volatile", _UNCORRECTED, _VOLATILE, _DRAM, 12),
    _ecc("ecc_sram_corrected", _CORRECTED, _AGGREGATE, _SRAM),
    _ecc("ecc_sram_uncorrected", _UNCORRECTED, _AGGREGATE, _SRAM),
    _ecc("ecc_dram_corrected", _CORRECTED, _AGGREGATE, _DRAM, 22),
    _ecc("ecc_dram_uncorrected", _UNCORRECTED, _AGGREGATE, _DRAM, 23),
    _remapped("remapped_rows_correctable", 142, 0),
    _remapped("remapped_rows_uncorrectable", 143, 1),
    _remapped("remap_pending", 144, 2, most=1),
    _remapped("remap_failed", 145, 3, most=1),
    _retired("retired_pages_single_bit", 29, _SINGLE_BIT),
    _retired("retired_pages_double_bit", 30, _DOUBLE_BIT),
    Row("retirement_pending", (Field(31), Ask("nvmlDeviceGetRetiredPagesPendingStatus")), most=1),
)

NAMES: tuple[str, ...] = tuple(row.metric for row in ROWS)
METRICS = tuple(BY_NAME[name] for name in NAMES)
