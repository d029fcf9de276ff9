"""A Grafana for tests: a server with state that holds each request against Grafana's documented API."""

from tests.dashboards.grafana_stand_in.faults import Faults
from tests.dashboards.grafana_stand_in.people import People
from tests.dashboards.grafana_stand_in.server import StandIn, serving

__all__ = ["Faults", "People", "StandIn", "serving"]
