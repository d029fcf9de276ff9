"""Where every metric that is sent on change comes from."""

from __future__ import annotations

from ctypes import c_uint, c_ulonglong

from gpufleet_agent.backends.nvidia import fabric
from gpufleet_agent.backends.nvidia.rows import Row
from gpufleet_agent.backends.nvidia.samples import milli
from gpufleet_agent.backends.nvidia.sources import Ask, Call, Field, Get, Links, OverInstances, Source
from gpufleet_agent.backends.nvidia.structs import RemapHistogram, SramStatus
from gpufleet_agent.catalogue import BY_NAME

_CORRECTED, _UNCORRECTED = 0, 1
_VOLATILE, _AGGREGATE = 0, 1
_DRAM, _SRAM = 2, 7
_SINGLE_BIT, _DOUBLE_BIT = 0, 1
_REMAPPED = Call("nvmlDeviceGetRemappedRows", (c_uint, c_uint, c_uint, c_uint))
_HISTOGRAM = Call("nvmlDeviceGetRowRemapperHistogram", (RemapHistogram,))
_SRAM_STATUS = Call("nvmlDeviceGetSramEccErrorStatus", (SramStatus,), version=1)
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


def _link_is_up(link: int) -> Get:
    return Get(Call("nvmlDeviceGetNvLinkState", (c_uint,), (link,)))


def _link_is_down(link: int) -> Get:
    """Its bit among all links, if it is down: their sum is the set of links that are."""
    return Get(_link_is_up(link).call, convert=lambda is_up: 0 if is_up else 1 << link)


def _spares(name: str, left: str) -> Row:
    return Row(name, (Get(_HISTOGRAM, left),))


def _remapped(name: str, number: int, cell: int, most: float | None = None) -> Row:
    return Row(name, (Field(number), Get(_REMAPPED, cell=cell)), most=most)


def _retired(name: str, number: int, cause: int) -> Row:
    return Row(name, (Field(number), Ask("nvmlDeviceGetRetiredPages", (cause,), len)))


ROWS: tuple[Row, ...] = (
    Row("power_limit", (Get(Call("nvmlDeviceGetEnforcedPowerLimit"), convert=milli), Field(190, milli))),
    Row("pcie_link_generation", (Get(Call("nvmlDeviceGetCurrPcieLinkGeneration")),), most=16),
    Row("pcie_link_width", (Get(Call("nvmlDeviceGetCurrPcieLinkWidth")),), most=64),
    Row("pcie_replays", (Get(Call("nvmlDeviceGetPcieReplayCounter")), Field(94))),
    Row("nvlink_links_up", (Links(_link_is_up),)),
    Row("nvlink_links_down", (Links(_link_is_down),)),
    _link_errors("nvlink_crc_flit_errors", 38, 2, _by_link(163)),
    _link_errors("nvlink_crc_data_errors", 45, 3),
    _link_errors("nvlink_replay_errors", 52, 0, _by_link(161)),
    _link_errors("nvlink_recovery_errors", 59, 1, _by_link(162), _by_link(215, since=_BLACKWELL)),
    _link_errors("nvlink_ecc_errors", 160, 4),
    Row("nvlink_receive_errors", (_by_link(208, since=_BLACKWELL),)),
    Row("nvlink_effective_errors", (_by_link(219, since=_BLACKWELL),)),
    Row("nvlink_failed_recoveries", (_by_link(214, since=_BLACKWELL),)),
    Row("fabric_state", fabric.STATE, most=3),
    Row("fabric_status", fabric.STATUS),
    Row("fabric_trouble", fabric.TROUBLE),
    _ecc("ecc_sram_corrected_volatile", _CORRECTED, _VOLATILE, _SRAM),
    _ecc("ecc_sram_uncorrected_volatile", _UNCORRECTED, _VOLATILE, _SRAM),
    _ecc("ecc_dram_corrected_volatile", _CORRECTED, _VOLATILE, _DRAM, 11),
    _ecc("ecc_dram_uncorrected_volatile", _UNCORRECTED, _VOLATILE, _DRAM, 12),
    _ecc("ecc_sram_corrected", _CORRECTED, _AGGREGATE, _SRAM),
    _ecc("ecc_sram_uncorrected", _UNCORRECTED, _AGGREGATE, _SRAM),
    _ecc("ecc_dram_corrected", _CORRECTED, _AGGREGATE, _DRAM, 22),
    _ecc("ecc_dram_uncorrected", _UNCORRECTED, _AGGREGATE, _DRAM, 23),
    Row("sram_threshold_exceeded", (Get(_SRAM_STATUS, "threshold_exceeded"),), most=1),
    _remapped("remapped_rows_correctable", 142, 0),
    _remapped("remapped_rows_uncorrectable", 143, 1),
    _remapped("remap_pending", 144, 2, most=1),
    _remapped("remap_failed", 145, 3, most=1),
    _spares("remap_banks_full_spares", "full"),
    _spares("remap_banks_high_spares", "high"),
    _spares("remap_banks_partial_spares", "partial"),
    _spares("remap_banks_low_spares", "low"),
    _spares("remap_banks_no_spares", "none"),
    _retired("retired_pages_single_bit", 29, _SINGLE_BIT),
    _retired("retired_pages_double_bit", 30, _DOUBLE_BIT),
    Row("retirement_pending", (Field(31), Ask("nvmlDeviceGetRetiredPagesPendingStatus")), most=1),
    Row("recovery_action", (Field(230, since=_BLACKWELL),), most=255),
)

# An idle GPU lowers its link: only what is read with a sample can be held against what the GPU did in it.
LOAD_ROWS: tuple[Row, ...] = tuple(row for row in ROWS if row.metric in ("pcie_link_generation", "pcie_link_width"))

NAMES: tuple[str, ...] = tuple(row.metric for row in ROWS)
METRICS = tuple(BY_NAME[name] for name in NAMES)
