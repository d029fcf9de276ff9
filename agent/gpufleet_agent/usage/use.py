"""What a GPU or a partition was used for in one sample: the catalogue's rule, without numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from gpufleet_agent.catalogue import ACTIVE_FROM, ACTIVITY, BY_NAME, HOLDING, RESERVED, Use

# Each metric with the lowest stored integer that is a value, and the one from which it counts.
_ACTIVITY = [(name, BY_NAME[name].lowest + RESERVED, ACTIVE_FROM) for name in ACTIVITY]
_HOLDING = [(name, BY_NAME[name].lowest + RESERVED, above + 1) for name, above in HOLDING.items()]


def use(columns: Mapping[str, Sequence[int]], place: int) -> Use:
    """The use of what is at that place in a sample's columns of stored integers. What is missing says nothing."""
    active, seen = _any(_ACTIVITY, columns, place)
    if active:
        return Use.ACTIVE
    held, known = _any(_HOLDING, columns, place)
    if held:
        return Use.HELD if seen else Use.UNKNOWN
    # Where no activity is known, that nothing at all is there tells that nothing ran either.
    return Use.FREE if known >= (1 if seen else len(_HOLDING)) else Use.UNKNOWN


def _any(metrics: Sequence[tuple[str, int, int]], columns: Mapping[str, Sequence[int]], place: int) -> tuple[bool, int]:
    """Whether one of the metrics is as high as it takes; else how many of them are known."""
    known = 0
    for name, lowest, enough in metrics:
        column = columns.get(name)
        if column is not None and column[place] >= lowest:
            if column[place] >= enough:
                return True, known + 1
            known += 1
    return False, known
