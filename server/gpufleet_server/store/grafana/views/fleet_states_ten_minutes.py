"""The view `fleet_states_ten_minutes`."""

from gpufleet_server.store.grafana.fleet import of_states
from gpufleet_server.store.tiers import TEN_MINUTES

VIEW = of_states("fleet_states_ten_minutes", "The same at full ten minutes, of old times at full hours.", TEN_MINUTES)
