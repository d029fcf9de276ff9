"""What this server evaluates, and which alerts are open, for Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gpufleet_server.alerts.listing import counts
from gpufleet_server.alerts.rule import Severity
from gpufleet_server.alerts.service import Alerting
from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries.reading import reading
from gpufleet_server.store.engine import Store

_NAME = "gpufleet_alerts"


class Alerts(Collector):
    """The engine's figures since the server started, and the open alerts as the store has them."""

    def __init__(self, store: Store, alerting: Alerting) -> None:
        self._store, self._alerting = store, alerting

    def collect(self) -> Iterator[Metric]:
        """The families; without a store that answers none of alerts."""
        done = self._alerting.engine.statistics
        yield GaugeMetricFamily(f"{_NAME}_elected", "Whether this server evaluates rounds.", value=float(done.elected))
        for name, help, rounds, events in (
            ("rounds", "Evaluations, on schedule and for events.", done.rounds, done.event_rounds),
            ("round_failures", "Those that failed, and are tried again.", done.round_failures, done.event_failures),
            ("round_seconds", "Time they took.", done.round_seconds, done.event_seconds),
        ):
            family = CounterMetricFamily(f"{_NAME}_{name}", help, labels=["kind"])
            family.add_metric(["schedule"], rounds)
            family.add_metric(["events"], events)
            yield family
        yield CounterMetricFamily(f"{_NAME}_changes", "Alerts that began, fired or ended.", value=done.changes)
        if done.last is not None:
            help = "When a round last succeeded here."
            yield GaugeMetricFamily(f"{_NAME}_last_success_timestamp_seconds", help, value=done.last / 1e6)
        try:
            with reading(self._store) as connection:
                found = counts(connection)
        except Problem:
            return
        help = "Alerts by severity and how they stand."
        still = GaugeMetricFamily(f"{_NAME}_open", help, labels=["severity", "stands"])
        for severity in Severity:
            for stands in ("pending", "firing", "held"):
                still.add_metric([severity.value, stands], found.get((severity.value, stands), 0))
        yield still
