"""Prometheus text of this node's GPUs: names, help and units from the catalogue. Loaded only when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from gpufleet_agent import __version__
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, METRICS, Kind, Metric, Unit
from gpufleet_agent.runtime.clock import wall
from gpufleet_agent.runtime.frames import Ticked
from gpufleet_agent.wire import Backlog, Driver, Roster, State, unpack

_LABELS = ("uuid", "index", "model")


@dataclass
class Snapshot:
    """What is shown: filled by the agent as it goes."""

    roster: Roster | None = None
    driver: Driver | None = None
    backlog: Backlog = field(default_factory=Backlog)
    states: list[State] = field(default_factory=list)
    tick: Ticked | None = None
    totals: dict[tuple[str, str], int] = field(default_factory=dict)

    def take(self, tick: Ticked) -> None:
        """Note a sample; increments add up from the agent's start."""
        self.tick = tick
        for metric in EVERY_SAMPLE:
            if metric.kind is Kind.INCREMENT and metric.name in tick.columns:
                for gpu, stored in zip(tick.gpus, unpack(tick.columns[metric.name], metric.width), strict=True):
                    if metric.value(stored) is not None:
                        self.totals[gpu, metric.name] = self.totals.get((gpu, metric.name), 0) + stored


def series_name(metric: Metric) -> str:
    """The metric's Prometheus name, without the `_total` of counters."""
    words = ["gpufleet_gpu", metric.name.removeprefix("gpu_")]
    unit = metric.unit.prometheus
    if unit and not words[-1].endswith(f"_{unit}"):
        words.append(unit)
    return "_".join(words)


class GpuCollector(Collector):
    """Makes the families of one scrape."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def collect(self) -> Iterator[Family]:
        """Every metric that some GPU has, then the agent's own."""
        labels = self._labels()
        stored = self._stored(labels)
        yield from self._identity(labels)
        for metric in METRICS:
            found = {gpu: stored[gpu, metric.name] for gpu in labels if (gpu, metric.name) in stored}
            if found:
                yield _family(metric, found, labels)
        yield from self._own()

    def _labels(self) -> dict[str, list[str]]:
        gpus = self._snapshot.roster.gpus if self._snapshot.roster else []
        return {gpu.uuid: [gpu.uuid, str(gpu.index), gpu.model or ""] for gpu in gpus}

    def _stored(self, labels: dict[str, list[str]]) -> dict[tuple[str, str], int]:
        """(GPU, metric) → stored integer that is to be shown; absent values are left out."""
        stored = {(state.gpu, state.metric): state.stored for state in self._snapshot.states}
        tick = self._snapshot.tick
        answering = self._snapshot.driver is not None and self._snapshot.driver.state == "ok"
        if tick is not None and answering:
            for name, column in tick.columns.items():
                if BY_NAME[name].kind is not Kind.INCREMENT:
                    values = unpack(column, BY_NAME[name].width)
                    stored.update({(gpu, name): value for gpu, value in zip(tick.gpus, values, strict=True)})
        present = {key: v for key, v in stored.items() if key[1] in BY_NAME and BY_NAME[key[1]].value(v) is not None}
        return {**present, **self._snapshot.totals}

    def _identity(self, labels: dict[str, list[str]]) -> Iterator[Family]:
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

    def _own(self) -> Iterator[Family]:
        snapshot = self._snapshot
        host = snapshot.roster.host if snapshot.roster else None
        facts = {"version": __version__, "driver_version": (host and host.driver_version) or ""}
        yield InfoMetricFamily("gpufleet_agent_build", "Versions of the agent and of the driver it reads.", facts)
        up = float(snapshot.driver is not None and snapshot.driver.state == "ok")
        yield GaugeMetricFamily("gpufleet_agent_driver_up", "1 if the driver answers.", up)
        if snapshot.tick is not None:
            age = max(0.0, (wall() - snapshot.tick.at) / 1e6)
            yield GaugeMetricFamily("gpufleet_agent_sample_age_seconds", "Age of the last sample.", age)
        waiting, size = float(snapshot.backlog.reports), float(snapshot.backlog.bytes)
        yield GaugeMetricFamily("gpufleet_agent_spool_reports", "Reports that wait for the server.", waiting)
        yield GaugeMetricFamily("gpufleet_agent_spool_bytes", "Size of the reports that wait for the server.", size)
        dropped = float(snapshot.backlog.dropped)
        yield CounterMetricFamily("gpufleet_agent_dropped_reports", "Reports given up: spool full or too old.", dropped)


def _family(metric: Metric, found: dict[str, int], labels: dict[str, list[str]]) -> Family:
    name = series_name(metric)
    if metric.unit is Unit.FLAGS:
        flags = GaugeMetricFamily(name, metric.help, labels=[*_LABELS, "reason"])
        for gpu, stored in found.items():
            for bit, word in metric.flags:
                flags.add_metric([*labels[gpu], word], float(bool(stored & bit)))
        return flags
    counter = metric.kind is Kind.INCREMENT
    family = (CounterMetricFamily if counter else GaugeMetricFamily)(name, metric.help, labels=_LABELS)
    for gpu, stored in found.items():
        family.add_metric(labels[gpu], float(stored * metric.step * metric.unit.prometheus_factor))
    return family


def render(snapshot: Snapshot) -> bytes:
    """The text of one scrape."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(GpuCollector(snapshot))
    return generate_latest(registry)
