"""The view `samples`."""

from gpufleet_server.store.grafana.blocks import of_blocks
from gpufleet_server.store.tiers import SEALED

VIEW = of_blocks("samples", "A sample of a GPU.", SEALED)
