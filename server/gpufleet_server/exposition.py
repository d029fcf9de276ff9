"""The server's own metrics and the fleet's totals, for Prometheus. Single GPUs are the API's matter."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response

from gpufleet_server import __version__
from gpufleet_server.alerts.delivery.exposition import Deliveries
from gpufleet_server.alerts.exposition import Alerts
from gpufleet_server.alerts.service import Alerting
from gpufleet_server.domain.problem import Problem
from gpufleet_server.domain.state import GpuState, NodeState
from gpufleet_server.domain.tokens import bearer
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.queries import fleet
from gpufleet_server.queries.access import READERS, check
from gpufleet_server.queries.filters import FleetFilter
from gpufleet_server.queries.fleet import Group, Sum, Totals
from gpufleet_server.queries.reading import reading
from gpufleet_server.store import upkeep
from gpufleet_server.store.engine import Store
from gpufleet_server.store.size import database_bytes
from gpufleet_server.store.tokens import TokenCache


def endpoint(
    store: Store,
    tokens: TokenCache,
    statistics: Statistics,
    *,
    now: Callable[[], int],
    public: bool = False,
    upkeep: upkeep.Statistics | None = None,
    alerting: Alerting | None = None,
) -> Callable[[Request], Response]:
    """What answers a scrape, in a thread. It needs a reader's token unless `public`; Problem 401 or 403 otherwise."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    GCCollector(registry=registry)
    registry.register(_Ingest(statistics))
    if upkeep is not None:
        registry.register(_Upkeep(upkeep, now))
    if alerting is not None:
        registry.register(Alerts(store, alerting))
        registry.register(Deliveries(store, alerting.dispatcher))
    registry.register(_Fleet(store, now))

    def scrape(request: Request) -> Response:
        if not public:
            check(tokens, bearer(request.headers.get("authorization")), READERS)
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry), headers={"content-type": content_type, "cache-control": "no-store"})

    return scrape


class _Ingest(Collector):
    """What the ingest has done since the server started."""

    def __init__(self, statistics: Statistics) -> None:
        self._statistics = statistics

    def collect(self) -> Iterator[Metric]:
        """The families."""
        done = self._statistics
        yield InfoMetricFamily("gpufleet_build", "The version of the server.", value={"version": __version__})
        yield _by("gpufleet_ingest_reports", "Reports answered.", "outcome", done.reports)
        yield _by("gpufleet_ingest_unknown_metrics", "Columns and states not kept.", "metric", done.unknown_metrics)
        for name, value, help in (
            ("enrolments", done.enrolments, "Credentials given to nodes for a join token."),
            ("renewals", done.renewals, "Credentials given to nodes for the one they had."),
            ("body_bytes", done.body_bytes, "Bytes of reports received, compressed."),
            ("samples", done.samples, "Samples stored."),
            ("values", done.values, "Metric values stored."),
            ("states", done.states, "Changed states stored."),
            ("events", done.events, "Events stored."),
            ("usage_pieces", done.usage, "Pieces of usage intervals stored."),
            ("commits", done.commits, "Commits to the store."),
            ("failed_commits", done.failed_commits, "Commits that failed."),
            ("commit_seconds", done.commit_seconds, "Time spent in commits."),
            ("committed_reports", done.committed_reports, "Reports in those commits."),
            ("waited_seconds", done.waited_seconds, "Time that those reports waited for their commits, in all."),
        ):
            yield CounterMetricFamily(f"gpufleet_ingest_{name}", help, value=value)
        yield GaugeMetricFamily("gpufleet_ingest_queued_reports", "Reports not yet written.", value=done.queued_reports)
        yield GaugeMetricFamily("gpufleet_ingest_queued_bytes", "Their size in memory.", value=done.queued_bytes)


class _Upkeep(Collector):
    """What this server has done for the store beside writing; where another one is elected, nothing."""

    def __init__(self, statistics: upkeep.Statistics, now: Callable[[], int]) -> None:
        self._statistics, self._now = statistics, now

    def collect(self) -> Iterator[Metric]:
        """The families."""
        done, name = self._statistics, "gpufleet_upkeep"
        yield GaugeMetricFamily(f"{name}_elected", "Whether this server does the upkeep.", value=float(done.elected))
        if (overdue := done.overdue(self._now())) is not None:
            help = "By how much sealing is behind; 0 is as it should be."
            yield GaugeMetricFamily(f"{name}_overdue_seconds", help, value=overdue / 1e6)
        steps = dict(done.steps)
        yield _by(f"{name}_runs", "Runs of each step.", "step", {step: each.runs for step, each in steps.items()})
        failures = {step: each.failures for step, each in steps.items()}
        yield _by(f"{name}_failures", "Runs that failed, and are tried again.", "step", failures)
        seconds = {step: each.seconds for step, each in steps.items()}
        yield _by(f"{name}_seconds", "Time spent in each step, its pauses included.", "step", seconds)
        last = GaugeMetricFamily(f"{name}_last_success_timestamp_seconds", "When it last succeeded.", labels=["step"])
        for step, each in steps.items():
            if each.last is not None:
                last.add_metric([step], each.last / 1e6)
        yield last
        sealed = done.sealed
        yield CounterMetricFamily(f"{name}_sealed_blocks", "Hours of single nodes sealed.", value=sealed.hours)
        yield CounterMetricFamily(f"{name}_sealed_samples", "Samples in them.", value=sealed.samples)
        too_late = "Samples that came after their time to be kept; only their rollup is."
        yield CounterMetricFamily(f"{name}_too_late_samples", too_late, value=sealed.too_late)
        folded = done.folded
        yield CounterMetricFamily(f"{name}_folded_pieces", "Pieces of usage made intervals of.", value=folded.pieces)
        yield _by(f"{name}_removed", "Partitions or rows removed as too old.", "tier", done.removed)


class _Fleet(Collector):
    """The store and the fleet in it, read anew for every scrape."""

    def __init__(self, store: Store, now: Callable[[], int]) -> None:
        self._store, self._now = store, now

    def collect(self) -> Iterator[Metric]:
        """The families; without a store that answers only that it does not."""
        begun = time.perf_counter()
        try:
            families = self._read()
        except Problem:
            families = []
        yield GaugeMetricFamily("gpufleet_store_up", "Whether the store answers.", value=float(bool(families)))
        yield from families
        took = time.perf_counter() - begun
        yield GaugeMetricFamily("gpufleet_scrape_duration_seconds", "Time the store took for this scrape.", value=took)

    def _read(self) -> list[Metric]:
        everything, now = FleetFilter(), self._now()
        with reading(self._store) as connection:
            found = fleet.overview(connection, everything, now)
            size = database_bytes(connection)
        store = GaugeMetricFamily("gpufleet_store_size_bytes", "The store's size on disk.", value=size)
        return [store, _nodes(found.nodes), *_gpus(found.groups)]


def _by(name: str, help: str, label: str, counts: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(name, help, labels=[label])
    for value, count in dict(counts).items():
        family.add_metric([value], count)
    return family


def _nodes(counts: dict[tuple[NodeState, bool], int]) -> Metric:
    family = GaugeMetricFamily("gpufleet_nodes", "Nodes by state.", labels=["state", "simulated"])
    for simulated in sorted({False} | {simulated for _, simulated in counts}):
        for state in NodeState:
            family.add_metric([state, _yes(simulated)], counts.get((state, simulated), 0))
    return family


def _gpus(groups: Sequence[Group]) -> list[Metric]:
    by_model = fleet.totals_by(groups, lambda group: (group.model or "unknown", group.simulated))
    counts = GaugeMetricFamily("gpufleet_gpus", "GPUs by model and state.", labels=["model", "state", "simulated"])
    for (model, simulated), totals in by_model.items():
        for state in GpuState:
            counts.add_metric([model, state, _yes(simulated)], totals.by_state[state])
    return [counts, *_sums(by_model)]


_SUMS: tuple[tuple[str, str, Callable[[Totals], Sum], Callable[[Sum], float]], ...] = (
    ("power_watts", "Power of the GPUs that report it.", lambda t: t.power, lambda s: s.value),
    (
        "gpu_utilization_ratio",
        "Mean utilisation of the GPUs that report it.",
        lambda t: t.gpu_utilization,
        lambda s: s.value / s.gpus / 100,
    ),
    ("memory_used_bytes", "Memory in use on the GPUs that report it.", lambda t: t.memory_used, lambda s: s.value),
    ("memory_total_bytes", "Memory of those same GPUs.", lambda t: t.memory_total, lambda s: s.value),
)


def _sums(by_model: dict[tuple[str, bool], Totals]) -> Iterator[Metric]:
    """A figure and over how many GPUs it is; no figure where no GPU has a value."""
    of = GaugeMetricFamily(
        "gpufleet_fleet_reporting_gpus",
        "GPUs that report a value for gpufleet_fleet_<figure>.",
        labels=["model", "simulated", "figure"],
    )
    for name, help, part, figure in _SUMS:
        family = GaugeMetricFamily(f"gpufleet_fleet_{name}", help, labels=["model", "simulated"])
        for (model, simulated), totals in by_model.items():
            over = part(totals)
            of.add_metric([model, _yes(simulated), name], over.gpus)
            if over.gpus:
                family.add_metric([model, _yes(simulated)], figure(over))
        yield family
    yield of


def _yes(flag: bool) -> str:
    return "true" if flag else "false"
