"""The view `fleet_hours`."""

from gpufleet_server.store.grafana.fleet import over_time
from gpufleet_server.store.tiers import HOUR, fleet_hours

VIEW = over_time("fleet_hours", "An hour of the GPUs of a site, model and use.", fleet_hours, HOUR)
