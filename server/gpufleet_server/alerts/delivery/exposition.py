"""How it stands with the receivers of alerts, for Prometheus."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gpufleet_server.alerts.delivery.dispatcher import Dispatcher
from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries.reading import reading
from gpufleet_server.store import deliveries
from gpufleet_server.store.deliveries import DEAD, WAITING
from gpufleet_server.store.engine import Store

_LABELS = ("receiver", "kind")
_NAME = "gpufleet_alert_receiver"


class Deliveries(Collector):
    """What this server told its receivers since it started, and what the store has for them."""

    def __init__(self, store: Store, dispatcher: Dispatcher) -> None:
        self._store, self._dispatcher = store, dispatcher

    def collect(self) -> Iterator[Metric]:
        """The families; without a store that answers none of the outbox."""
        standings = self._dispatcher.standings
        if not standings:
            return
        elected = "Whether this server is the one that tells receivers."
        yield GaugeMetricFamily("gpufleet_alert_delivery_elected", elected, value=float(self._dispatcher.elected))
        sent = CounterMetricFamily(
            f"{_NAME}_sent", "Alerts that a receiver took, each sending counted.", labels=_LABELS
        )
        failures = CounterMetricFamily(f"{_NAME}_failures", "Sendings that failed, and are repeated.", labels=_LABELS)
        up = GaugeMetricFamily(f"{_NAME}_up", "0 while a receiver does not take what it is sent.", labels=_LABELS)
        refused = GaugeMetricFamily(f"{_NAME}_refused", "Alerts that an Alertmanager refuses.", labels=_LABELS)
        for each in standings:
            labels = [each.name, each.kind]
            sent.add_metric(labels, each.sent)
            failures.add_metric(labels, each.failures)
            up.add_metric(labels, float(each.failing_since is None))
            if each.kind == "alertmanager":
                refused.add_metric(labels, each.refused)
        yield from (sent, failures, up, refused)
        yield from self._outbox()

    def _outbox(self) -> Iterator[Metric]:
        try:
            with reading(self._store) as connection:
                counts = deliveries.counts(connection)
        except Problem:
            return
        help = "Changes of alerts in the outbox: waiting, or dead, which nobody tries any more."
        family = GaugeMetricFamily("gpufleet_alert_deliveries", help, labels=["receiver", "state"])
        for (receiver, state), count in sorted(counts.items()):
            if state in (WAITING, DEAD):
                family.add_metric([receiver, state], count)
        yield family
