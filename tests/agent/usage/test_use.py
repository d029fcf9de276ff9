"""The rule for the use of a GPU in the agent; that the server has the same is tested with the server."""

import pytest
from gpufleet_agent.catalogue import BY_NAME, Reason, Use
from gpufleet_agent.usage.use import use

_UNSUPPORTED = BY_NAME["gpu_utilization"].absent(Reason.UNSUPPORTED)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({"gpu_utilization": 9000}, Use.ACTIVE),
        ({"gpu_utilization": 0, "compute_processes": 1}, Use.HELD),
        ({"gpu_utilization": 0, "compute_processes": 0}, Use.FREE),
        ({"gpu_utilization": _UNSUPPORTED, "compute_processes": 1}, Use.UNKNOWN),
        ({"gpu_utilization": _UNSUPPORTED, "fb_used": 0, "compute_processes": 0}, Use.FREE),
        ({}, Use.UNKNOWN),
    ],
)
def test_use(stored: dict[str, int], expected: Use) -> None:
    """Of the GPU at its place in the columns, whatever another one did."""
    assert use({name: [9000, value] for name, value in stored.items()}, 1) is expected
