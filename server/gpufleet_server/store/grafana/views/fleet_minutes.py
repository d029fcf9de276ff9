"""The view `fleet_minutes`."""

from gpufleet_server.store.grafana.fleet import over_time
from gpufleet_server.store.tiers import MINUTE, fleet_minutes

VIEW = over_time("fleet_minutes", "A minute of the GPUs of a site, model and use.", fleet_minutes, MINUTE)
