"""The rule for the use of a GPU: the agent, without numpy, and the server tell the same."""

import numpy as np
from gpufleet_agent.catalogue import ACTIVE_FROM, BY_NAME, HOLDING, RESERVED
from gpufleet_agent.usage.use import use
from gpufleet_server.domain.use import metrics
from gpufleet_server.domain.use import use as uses
from hypothesis import given
from hypothesis import strategies as st

_BOUNDS = {ACTIVE_FROM, *HOLDING.values()}


def _stored(name: str) -> st.SearchStrategy[int]:
    metric = BY_NAME[name]
    near = [n + by for n in {*_BOUNDS, metric.lowest, metric.lowest + RESERVED} for by in (-1, 0, 1)]
    return st.sampled_from([n for n in near if metric.lowest <= n <= metric.highest])


_SAMPLES = st.lists(st.fixed_dictionaries({}, optional={name: _stored(name) for name in metrics()}), min_size=1)


@given(_SAMPLES)
def test_agent_and_server_agree(samples: list[dict[str, int]]) -> None:
    """Whatever is known of a GPU, both tell the same use."""
    for stored in samples:
        columns = {name: [0, value] for name, value in stored.items()}
        arrays = {name: np.array([value]) for name, value in stored.items()}
        assert uses(arrays or {"other": np.zeros(1, np.int64)}).tolist() == [use(columns, 1)]
