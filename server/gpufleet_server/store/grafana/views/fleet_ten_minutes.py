"""The view `fleet_ten_minutes`."""

from gpufleet_server.store.grafana.fleet import over_time
from gpufleet_server.store.tiers import TEN_MINUTES, fleet_ten_minutes

VIEW = over_time(
    "fleet_ten_minutes", "Ten minutes of the GPUs of a site, model and use.", fleet_ten_minutes, TEN_MINUTES
)
