"""Fleets and hypothesis strategies that the tests of the simulation share."""

from gpufleet_server.simulate.plan import SimNode, fleet
from hypothesis import strategies as st

SECOND = 1_000_000
# 2026-11-21 09:00:00 UTC.
ORIGIN = 1_795_251_600 * SECOND
NODES: list[SimNode] = fleet(7, 160, ORIGIN)
HEALTHY: list[SimNode] = fleet(7, 160, ORIGIN, faults=False)

nodes = st.sampled_from(NODES)
healthy_nodes = st.sampled_from(HEALTHY)
# Two days around the faults' beginning.
times = st.integers(ORIGIN - 86_400 * SECOND, ORIGIN + 86_400 * SECOND)
