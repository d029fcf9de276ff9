"""The view `fleet_six_hours`."""

from gpufleet_server.store.grafana.fleet import over_time
from gpufleet_server.store.tiers import SIX_HOURS, fleet_six_hours

VIEW = over_time("fleet_six_hours", "Six hours of the GPUs of a site, model and use.", fleet_six_hours, SIX_HOURS)
