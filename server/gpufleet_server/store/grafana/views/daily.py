"""The view `daily`."""

from gpufleet_server.store.grafana.blocks import of_blocks
from gpufleet_server.store.tiers import DAILY

VIEW = of_blocks("daily", "A day (UTC) of a GPU.", DAILY)
