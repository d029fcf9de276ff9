"""What a GPU was used for in a sample: a pure function of its metrics."""

from collections.abc import Mapping

import numpy as np
from gpufleet_agent.catalogue import ACTIVE_FROM, ACTIVITY, BY_NAME, HOLDING, RESERVED, Use
from numpy.typing import NDArray

__all__ = ["Use", "metrics", "use"]

_NEEDED = (*ACTIVITY, *HOLDING)


def metrics() -> tuple[str, ...]:
    """The metrics that the use is told from."""
    return _NEEDED


def use(stored: Mapping[str, NDArray[np.int64]]) -> NDArray[np.int8]:
    """A Use for each element, from arrays of stored integers of one shape. A metric that is missing says nothing."""
    known = {name: column for name, column in stored.items() if name in _NEEDED}
    shape = next(iter(stored.values())).shape if stored else (0,)
    active, seen_activity = np.zeros(shape, bool), np.zeros(shape, bool)
    held, seen_holding = np.zeros(shape, bool), np.zeros(shape, np.int8)
    for name, column in known.items():
        there = column >= BY_NAME[name].lowest + RESERVED
        if name in ACTIVITY:
            seen_activity |= there
            active |= there & (column >= ACTIVE_FROM)
        else:
            seen_holding += there
            held |= there & (column > HOLDING[name])
    # Where no activity is known, that nothing at all is there tells that nothing ran either.
    enough = np.where(seen_activity, 1, len(HOLDING))
    return np.select(
        [active, held & seen_activity, ~held & (seen_holding >= enough)],
        [np.int8(Use.ACTIVE), np.int8(Use.HELD), np.int8(Use.FREE)],
        np.int8(Use.UNKNOWN),
    ).astype(np.int8)
