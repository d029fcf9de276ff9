"""The view `fleet_states_hours`."""

from gpufleet_server.store.grafana.fleet import of_states
from gpufleet_server.store.tiers import HOUR

VIEW = of_states("fleet_states_hours", "The same at full hours.", HOUR)
