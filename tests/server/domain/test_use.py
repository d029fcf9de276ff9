"""What a GPU was used for."""

import numpy as np
import pytest
from gpufleet_agent.catalogue import BY_NAME, Reason
from gpufleet_server.domain.use import Use, use

_GIB = 1 << 20
_ABSENT = {name: BY_NAME[name].absent(Reason.UNSUPPORTED) for name in ("sm_active", "gpu_utilization")}


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ({"gpu_utilization": 9000}, Use.ACTIVE),
        ({"gpu_utilization": 0, "sm_active": 150, "fb_used": 0}, Use.ACTIVE),
        ({"gpu_utilization": 0, "sm_active": _ABSENT["sm_active"], "fb_used": 20 * _GIB}, Use.HELD),
        ({"gpu_utilization": 0, "fb_used": _GIB // 2, "compute_processes": 1}, Use.HELD),
        ({"gpu_utilization": 0, "fb_used": _GIB // 2, "compute_processes": 0}, Use.FREE),
        ({"gpu_utilization": _ABSENT["gpu_utilization"], "fb_used": 20 * _GIB}, Use.UNKNOWN),
        ({"gpu_utilization": 0}, Use.UNKNOWN),
        ({"gpu_utilization": _ABSENT["gpu_utilization"], "fb_used": 20 * _GIB, "compute_processes": 0}, Use.UNKNOWN),
        ({"gpu_utilization": _ABSENT["gpu_utilization"], "fb_used": 7, "compute_processes": 1}, Use.UNKNOWN),
        ({"gpu_utilization": _ABSENT["gpu_utilization"], "fb_used": 7}, Use.UNKNOWN),
        ({"gpu_utilization": _ABSENT["gpu_utilization"], "fb_used": 7, "compute_processes": 0}, Use.FREE),
    ],
)
def test_use(stored: dict[str, int], expected: Use) -> None:
    """Activity wins; without any reading of it nothing is said, but that a GPU with nothing on it is free."""
    assert use({name: np.array([value]) for name, value in stored.items()}).tolist() == [expected]
