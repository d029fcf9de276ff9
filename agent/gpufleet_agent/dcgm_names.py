"""The same readings by the names, labels and units of NVIDIA's DCGM exporter (its series 3 and 4, up to 4.8).

Its counters do not end in `_total`, which prometheus_client would add: the text is written here.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from gpufleet_agent.catalogue import BY_NAME, Metric
from gpufleet_agent.snapshot import Fact, Snapshot
from gpufleet_agent.wire import Gpu, Partition
from gpufleet_agent.xids import xid_text

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
XID_LAST, XID_TOTAL = "DCGM_FI_DEV_XID_ERRORS", "DCGM_EXP_XID_ERRORS_TOTAL"
_MIB = Fraction(1, 1 << 20)
# DCGM divides what NVML counts, KiB, by a thousand and calls it MB.
_NVLINK_MB = Fraction(1, 1000 * 1024)
_RATIO = Fraction(1, 100)
_ONE = Fraction(1)

Labels = dict[str, str]
Sample = tuple[Labels, Fraction]


class Shown(enum.Enum):
    """What of a metric is shown: its value, what an increment came to since the agent's start, or a second."""

    VALUE = "value"
    TOTAL = "total"
    RATE = "rate"


@dataclass(frozen=True)
class Series:
    """One of the exporter's names: the sum of `sources`, each in the catalogue's unit, times `factor` is in `unit`."""

    name: str
    unit: str
    sources: tuple[str, ...]
    factor: Fraction = _ONE
    shown: Shown = Shown.VALUE
    is_counter: bool = False

    @property
    def help(self) -> str:
        """What it is, for its HELP line."""
        parts = [BY_NAME[source].help for source in self.sources]
        since = {Shown.VALUE: "", Shown.TOTAL: " Added up since the agent's start.", Shown.RATE: " A second, mean."}
        return f"{' Plus: '.join(parts)}{since[self.shown]} Unit: {self.unit}."


def _gauge(name: str, unit: str, source: str, factor: Fraction = _ONE) -> Series:
    return Series(name, unit, (source,), factor)


def _ratio(name: str, source: str) -> Series:
    return _gauge(name, "ratio, 0 to 1", source, _RATIO)


def _rate(name: str, unit: str, *sources: str, factor: Fraction = _ONE) -> Series:
    return Series(name, unit, sources, factor, Shown.RATE)


def _total(name: str, unit: str, source: str, factor: Fraction = _ONE) -> Series:
    return Series(name, unit, (source,), factor, Shown.TOTAL, is_counter=True)


def _count(name: str, *sources: str) -> Series:
    return Series(name, "count", sources, is_counter=True)


SERIES: tuple[Series, ...] = (
    _gauge("DCGM_FI_DEV_SM_CLOCK", "MHz", "sm_clock"),
    _gauge("DCGM_FI_DEV_MEM_CLOCK", "MHz", "memory_clock"),
    _gauge("DCGM_FI_DEV_MEMORY_TEMP", "°C", "memory_temperature"),
    _gauge("DCGM_FI_DEV_GPU_TEMP", "°C", "gpu_temperature"),
    _gauge("DCGM_FI_DEV_POWER_USAGE", "W", "power"),
    _gauge("DCGM_FI_DEV_ENFORCED_POWER_LIMIT", "W", "power_limit"),
    _total("DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", "mJ", "energy", Fraction(1000)),
    _count("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "pcie_replays"),
    _gauge("DCGM_FI_DEV_GPU_UTIL", "%", "gpu_utilization"),
    _gauge("DCGM_FI_DEV_MEM_COPY_UTIL", "%", "memory_copy_utilization"),
    _gauge("DCGM_FI_DEV_ENC_UTIL", "%", "encoder_utilization"),
    _gauge("DCGM_FI_DEV_DEC_UTIL", "%", "decoder_utilization"),
    _gauge("DCGM_FI_DEV_FB_FREE", "MiB", "fb_free", _MIB),
    _gauge("DCGM_FI_DEV_FB_USED", "MiB", "fb_used", _MIB),
    _gauge("DCGM_FI_DEV_FB_RESERVED", "MiB", "fb_reserved", _MIB),
    _count("DCGM_FI_DEV_ECC_SBE_VOL_TOTAL", "ecc_sram_corrected_volatile", "ecc_dram_corrected_volatile"),
    _count("DCGM_FI_DEV_ECC_DBE_VOL_TOTAL", "ecc_sram_uncorrected_volatile", "ecc_dram_uncorrected_volatile"),
    _count("DCGM_FI_DEV_ECC_SBE_AGG_TOTAL", "ecc_sram_corrected", "ecc_dram_corrected"),
    _count("DCGM_FI_DEV_ECC_DBE_AGG_TOTAL", "ecc_sram_uncorrected", "ecc_dram_uncorrected"),
    _count("DCGM_FI_DEV_RETIRED_SBE", "retired_pages_single_bit"),
    _count("DCGM_FI_DEV_RETIRED_DBE", "retired_pages_double_bit"),
    Series("DCGM_FI_DEV_RETIRED_PENDING", "0 or 1", ("retirement_pending",), is_counter=True),
    _count("DCGM_FI_DEV_NVLINK_CRC_FLIT_ERROR_COUNT_TOTAL", "nvlink_crc_flit_errors"),
    _count("DCGM_FI_DEV_NVLINK_CRC_DATA_ERROR_COUNT_TOTAL", "nvlink_crc_data_errors"),
    _count("DCGM_FI_DEV_NVLINK_REPLAY_ERROR_COUNT_TOTAL", "nvlink_replay_errors"),
    _count("DCGM_FI_DEV_NVLINK_RECOVERY_ERROR_COUNT_TOTAL", "nvlink_recovery_errors"),
    _rate("DCGM_FI_DEV_NVLINK_BANDWIDTH_TOTAL", "MB/s", "nvlink_tx_bytes", "nvlink_rx_bytes", factor=_NVLINK_MB),
    _count("DCGM_FI_DEV_UNCORRECTABLE_REMAPPED_ROWS", "remapped_rows_uncorrectable"),
    _count("DCGM_FI_DEV_CORRECTABLE_REMAPPED_ROWS", "remapped_rows_correctable"),
    _gauge("DCGM_FI_DEV_ROW_REMAP_FAILURE", "0 or 1", "remap_failed"),
    _ratio("DCGM_FI_PROF_GR_ENGINE_ACTIVE", "gpu_utilization"),
    _ratio("DCGM_FI_PROF_SM_ACTIVE", "sm_active"),
    _ratio("DCGM_FI_PROF_SM_OCCUPANCY", "sm_occupancy"),
    _ratio("DCGM_FI_PROF_PIPE_TENSOR_ACTIVE", "tensor_active"),
    _ratio("DCGM_FI_PROF_DRAM_ACTIVE", "dram_active"),
    _ratio("DCGM_FI_PROF_PIPE_FP64_ACTIVE", "fp64_active"),
    _ratio("DCGM_FI_PROF_PIPE_FP32_ACTIVE", "fp32_active"),
    _ratio("DCGM_FI_PROF_PIPE_FP16_ACTIVE", "fp16_active"),
    _rate("DCGM_FI_PROF_PCIE_TX_BYTES", "bytes/s", "pcie_tx_bytes"),
    _rate("DCGM_FI_PROF_PCIE_RX_BYTES", "bytes/s", "pcie_rx_bytes"),
    _total("DCGM_FI_PROF_PCIE_TX_BYTES_TOTAL", "bytes", "pcie_tx_bytes"),
    _total("DCGM_FI_PROF_PCIE_RX_BYTES_TOTAL", "bytes", "pcie_rx_bytes"),
)


class Page:
    """One scrape of a snapshot."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._gpus = snapshot.roster.gpus if snapshot.roster else []
        self._readings = snapshot.readings()
        self._partition_readings = snapshot.partition_readings()
        self._labels = {gpu.uuid: self._labels_of(gpu) for gpu in self._gpus}

    def lines(self) -> Iterator[str]:
        """The page, line by line. A name that no GPU has a value for is left out."""
        for series in SERIES:
            samples = [
                sample for gpu in self._gpus for sample in self._of_instances(series, gpu) or self._of_gpu(series, gpu)
            ]
            yield from _family(series.name, series.help, series.is_counter, samples)
        yield from _family(XID_LAST, "The last XID the driver told, 0 where there was none.", False, self._last_xids())
        yield from _family(XID_TOTAL, "XIDs the driver told since the agent's start.", True, self._xid_totals())
        for fact in self._snapshot.own():
            yield from _own(fact)

    def _labels_of(self, gpu: Gpu, partition: Partition | None = None) -> Labels:
        host = self._snapshot.roster.host if self._snapshot.roster else None
        labels = {
            "gpu": str(gpu.index),
            "UUID": gpu.uuid,
            "pci_bus_id": gpu.pci_address or "",
            "device": f"nvidia{gpu.index}",
            "modelName": gpu.model or "",
        }
        if partition is not None:
            # A compute instance's profile begins with its own slices, such as `1c.`.
            profile = re.sub(r"^\d+c\.", "", partition.profile or "")
            labels |= {"GPU_I_PROFILE": profile, "GPU_I_ID": str(partition.gpu_instance)}
        if host is not None:
            # The exporter has called it `hostname` since 4.8.3, and dashboards know it by either.
            labels |= {"Hostname": host.hostname, "hostname": host.hostname}
            if host.driver_version:
                labels["DCGM_FI_DRIVER_VERSION"] = host.driver_version
        return labels

    def _of_gpu(self, series: Series, gpu: Gpu) -> list[Sample]:
        value = self._value(series, gpu)
        return [] if value is None else [(self._labels[gpu.uuid], value)]

    def _of_instances(self, series: Series, gpu: Gpu) -> list[Sample]:
        """What its GPU instances tell stands in the place of what the whole GPU tells, so that no sum counts both."""
        if series.shown is not Shown.VALUE or len(series.sources) > 1:
            return []
        metric = BY_NAME[series.sources[0]]
        found: dict[int, tuple[Partition, Fraction]] = {}
        for partition in gpu.partitions:
            stored = self._partition_readings.get((partition.uuid, metric.name))
            # Compute instances of one GPU instance have its readings, all of them the same.
            if stored is not None and partition.gpu_instance is not None:
                found.setdefault(partition.gpu_instance, (partition, stored * metric.step * series.factor))
        return [(self._labels_of(gpu, each), value) for each, value in found.values()]

    def _value(self, series: Series, gpu: Gpu) -> Fraction | None:
        parts = [self._part(BY_NAME[source], series.shown, gpu.uuid) for source in series.sources]
        known = [part for part in parts if part is not None]
        # A sum of which a part is not known is not known.
        return sum(known, start=Fraction(0)) * series.factor if len(known) == len(parts) else None

    def _part(self, metric: Metric, shown: Shown, uuid: str) -> Fraction | None:
        """What is shown of a metric, in its own unit (a second, for a rate)."""
        found = (self._snapshot.totals if shown is Shown.TOTAL else self._readings).get((uuid, metric.name))
        if found is None:
            return None
        if shown is not Shown.RATE:
            return found * metric.step
        tick = self._snapshot.tick
        return found * metric.step * 1000 / tick.duration if tick is not None and tick.duration > 0 else None

    def _last_xids(self) -> list[Sample]:
        last = [
            (gpu.uuid, self._snapshot.last_xids[gpu.uuid]) for gpu in self._gpus if gpu.uuid in self._snapshot.last_xids
        ]
        return [
            (self._labels[uuid] | {"err_code": str(xid), "err_msg": xid_text(xid)}, Fraction(xid)) for uuid, xid in last
        ]

    def _xid_totals(self) -> list[Sample]:
        totals = self._snapshot.xid_totals.items()
        return [(self._labels[u] | {"xid": str(xid)}, Fraction(n)) for (u, xid), n in totals if u in self._labels]


def render(snapshot: Snapshot) -> bytes:
    """The text of one scrape."""
    return "".join(f"{line}\n" for line in Page(snapshot).lines()).encode()


def _own(fact: Fact) -> Iterator[str]:
    name = f"{fact.name}_total" if fact.is_counter else fact.name
    return _family(name, fact.help, fact.is_counter, [(fact.labels, Fraction(fact.value))])


def _family(name: str, help: str, is_counter: bool, samples: list[Sample]) -> Iterator[str]:
    if not samples:
        return
    yield f"# HELP {name} {_escaped(help)}"
    yield f"# TYPE {name} {'counter' if is_counter else 'gauge'}"
    for labels, value in samples:
        pairs = ",".join(f'{key}="{_quoted(text)}"' for key, text in labels.items())
        number = str(value.numerator) if value.denominator == 1 else repr(float(value))
        yield f"{name}{{{pairs}}} {number}" if pairs else f"{name} {number}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")
