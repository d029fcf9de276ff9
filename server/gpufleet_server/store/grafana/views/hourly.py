"""The view `hourly`."""

from gpufleet_server.store.grafana.blocks import of_blocks
from gpufleet_server.store.tiers import HOURLY

VIEW = of_blocks("hourly", "An hour of a GPU.", HOURLY)
