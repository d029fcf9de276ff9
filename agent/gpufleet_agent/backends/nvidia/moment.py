"""One reading of one GPU: everything that is read in it counts as read at the same time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from gpufleet_agent.backends.backend import Reading
from gpufleet_agent.catalogue import Reason

Number = int | float


@dataclass(slots=True, eq=False)
class Moment:
    """`now` on the monotonic clock and `seconds` since the moment before (0 for the first)."""

    now: float
    seconds: float


# Reads one value. Raises Reading where there is none, GpuLost or DriverGone where there is nothing to read from.
Reader = Callable[[Moment], Number]


def whole(value: Number) -> int:
    """A counter's reading as an integer. Reading where it cannot be one: negative, NaN, infinite."""
    if 0 <= value < 1 << 64:
        return int(value)
    raise Reading(Reason.IMPLAUSIBLE)
