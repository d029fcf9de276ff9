"""What a GPU was used for in a sample: a pure function of its metrics."""

import enum
from collections.abc import Mapping

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, RESERVED
from numpy.typing import NDArray


class Use(enum.IntEnum):
    """Active: something ran. Held: nothing ran, but a process or its memory keeps others away. Free: neither."""

    FREE = 0
    HELD = 1
    ACTIVE = 2
    UNKNOWN = 3

    @property
    def word(self) -> str:
        """The word as the API and the screen show it."""
        return self.name.lower()


# A share of the interval below this, 1 %, is what monitoring itself and the display cause.
ACTIVE_FROM = 100
# A driver without any process counts up to about this much as used; in the metric's stored integers (KiB).
IDLE_MEMORY = 1024 * 1024

ACTIVITY = ("gpu_utilization", "sm_active", "encoder_utilization", "decoder_utilization")
# Above which stored integer something keeps others away from a GPU.
HOLDING = {"compute_processes": 0, "fb_used": IDLE_MEMORY}
_NEEDED = (*ACTIVITY, *HOLDING)


def metrics() -> tuple[str, ...]:
    """The metrics that the use is told from."""
    return _NEEDED


def use(stored: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int8]:
    """A Use for each element, from arrays of stored integers of one shape. A metric that is missing says nothing."""
    known = {name: column for name, column in stored.items() if name in _NEEDED}
    shape = next(iter(stored.values())).shape if stored else (0,)
    active, seen_activity = np.zeros(shape, bool), np.zeros(shape, bool)
    held, seen_holding = np.zeros(shape, bool), np.zeros(shape, bool)
    for name, column in known.items():
        there = column >= BY_NAME[name].lowest + RESERVED
        if name in ACTIVITY:
            seen_activity |= there
            active |= there & (column >= ACTIVE_FROM)
        else:
            seen_holding |= there
            held |= there & (column > HOLDING[name])
    return np.select(
        [active, ~seen_activity, held, ~seen_holding],
        [np.int8(Use.ACTIVE), np.int8(Use.UNKNOWN), np.int8(Use.HELD), np.int8(Use.UNKNOWN)],
        np.int8(Use.FREE),
    ).astype(np.int8)
