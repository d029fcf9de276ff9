"""The view `fleet_states_six_hours`."""

from gpufleet_server.store.grafana.fleet import of_states
from gpufleet_server.store.tiers import SIX_HOURS

VIEW = of_states("fleet_states_six_hours", "The same at full six hours (UTC).", SIX_HOURS)
