"""Prometheus text of this node's GPUs: names, help and units from the catalogue. Loaded only when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from gpufleet_agent.catalogue import METRICS, Kind, Metric, Unit
from gpufleet_agent.snapshot import Fact, Snapshot
from gpufleet_agent.wire import Gpu, Partition

CONTENT_TYPE = CONTENT_TYPE_LATEST
_LABELS = ("uuid", "index", "model")
_PARTITION_LABELS = ("uuid", "gpu_uuid", "index", "model", "profile", "gpu_instance", "compute_instance")
_SHARE = "What a share of the partition counts for in one of its GPU."
# By UUID, in the order of their names.
_Labels = dict[str, list[str]]


def series_name(metric: Metric, subject: str = "gpu") -> str:
    """The metric's Prometheus name, of a gpu or a partition, without the `_total` of counters."""
    words = [f"gpufleet_{subject}", metric.name.removeprefix("gpu_")]
    unit = metric.unit.prometheus
    if unit and not words[-1].endswith(f"_{unit}"):
        words.append(unit)
    return "_".join(words)


class GpuCollector(Collector):
    """Makes the families of one scrape."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Family]:
        """Every metric that some GPU has, then those of partitions, then the agent's own."""
        labels = self._labels()
        stored = self._snapshot.readings() | self._snapshot.totals
        yield from self._identity(labels)
        for metric in METRICS:
            found = {gpu: stored[gpu, metric.name] for gpu in labels if (gpu, metric.name) in stored}
            if found:
                yield _family(metric, found, labels)
        yield from self._partitions()
        yield self._xids(labels)
        for fact in self._snapshot.own():
            yield _own(fact)

    def _labels(self) -> _Labels:
        gpus = self._snapshot.roster.gpus if self._snapshot.roster else []
        return {gpu.uuid: [gpu.uuid, str(gpu.index), gpu.model or ""] for gpu in gpus}

    def _xids(self, labels: _Labels) -> Family:
        """How often each XID came. A series begins with the first one."""
        family = CounterMetricFamily("gpufleet_gpu_xids", "XIDs since the agent's start.", labels=[*_LABELS, "xid"])
        for (gpu, xid), count in sorted(self._snapshot.xid_totals.items()):
            if gpu in labels:
                family.add_metric([*labels[gpu], str(xid)], count)
        return family

    def _partitions(self) -> Iterator[Family]:
        """Names of their own, so that no sum over GPUs counts anything twice."""
        those = [
            (gpu, each)
            for gpu in (self._snapshot.roster.gpus if self._snapshot.roster else [])
            for each in gpu.partitions
        ]
        labels = {each.uuid: _partition_labels(gpu, each) for gpu, each in those}
        shares = GaugeMetricFamily("gpufleet_partition_share_ratio", _SHARE, labels=_PARTITION_LABELS)
        for _, each in those:
            if each.share is not None:
                shares.add_metric(labels[each.uuid], each.share)
        if shares.samples:
            yield shares
        stored = self._snapshot.partition_readings()
        for metric in METRICS:
            found = {uuid: stored[uuid, metric.name] for uuid in labels if (uuid, metric.name) in stored}
            if found:
                yield _family(metric, found, labels, "partition")

    def _identity(self, labels: _Labels) -> Iterator[Family]:
        info = InfoMetricFamily("gpufleet_gpu", "What the GPU is.", labels=_LABELS)
        lost = GaugeMetricFamily("gpufleet_gpu_lost", "1 if the driver cannot reach the GPU any more.", labels=_LABELS)
        for gpu in self._snapshot.roster.gpus if self._snapshot.roster else []:
            facts = {
                "serial": gpu.serial or "",
                "pci_address": gpu.pci_address or "",
                "board_part_number": gpu.board_part_number or "",
                "vbios_version": gpu.vbios_version or "",
                "vendor": gpu.vendor,
            }
            info.add_metric(labels[gpu.uuid], facts)
            lost.add_metric(labels[gpu.uuid], float(gpu.state == "lost"))
        yield info
        yield lost


def _partition_labels(gpu: Gpu, partition: Partition) -> list[str]:
    instances = (partition.gpu_instance, partition.compute_instance)
    numbers = ["" if number is None else str(number) for number in instances]
    return [partition.uuid, gpu.uuid, str(gpu.index), gpu.model or "", partition.profile or "", *numbers]


def _own(fact: Fact) -> Family:
    family_of = CounterMetricFamily if fact.is_counter else GaugeMetricFamily
    family = family_of(fact.name, fact.help, labels=list(fact.labels))
    family.add_metric(list(fact.labels.values()), fact.value)
    return family


def _family(metric: Metric, found: dict[str, int], labels: _Labels, subject: str = "gpu") -> Family:
    name, names = series_name(metric, subject), _LABELS if subject == "gpu" else _PARTITION_LABELS
    if metric.unit is Unit.FLAGS:
        flags = GaugeMetricFamily(name, metric.help, labels=[*names, "reason"])
        for gpu, stored in found.items():
            for bit, word in metric.flags:
                flags.add_metric([*labels[gpu], word], float(bool(stored & bit)))
        return flags
    counter = metric.kind is Kind.INCREMENT
    family = (CounterMetricFamily if counter else GaugeMetricFamily)(name, metric.help, labels=names)
    for gpu, stored in found.items():
        family.add_metric(labels[gpu], float(stored * metric.step * metric.unit.prometheus_factor))
    return family


def render(snapshot: Snapshot) -> bytes:
    """The text of one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(GpuCollector(snapshot))
    return generate_latest(registry)
