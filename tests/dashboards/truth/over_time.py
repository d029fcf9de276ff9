"""The fleet over time: sums over samples by the interval in which they ended, beside how many GPUs there were."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.dashboards.fleet.rows import Key, Rows, sums
from tests.dashboards.fleet.sent import Floats, Integers
from tests.dashboards.truth.seen import Seen, Series
from tests.dashboards.truth.standing import counts

_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE
# What boards read while an interval is below so long: minutes, ten minutes, hours, six hours.
_STEPS = ((2 * _MINUTE, _MINUTE), (_HOUR, 10 * _MINUTE), (6 * _HOUR, _HOUR))
USES = ("active", "held", "free", "unknown")
Columns = Callable[[Rows], dict[str, Floats]]


@dataclass(frozen=True)
class Told:
    """What is known of a group in an interval of `seconds`: sums by name, None where nothing was told; `owned` GPUs."""

    seconds: float
    sums: Mapping[str, float] | None
    owned: float | None

    def __getitem__(self, name: str) -> float:
        return self.sums[name] if self.sums is not None else 0.0

    def share(self, part: str, whole: str) -> float | None:
        """One sum by another; None where nothing was told."""
        return self[part] / self[whole] if self[whole] else None


def step_of(interval: int, *, whole: bool = False) -> int:
    """How fine the rollups are that are read, µs: hours at most of what is of a `whole` range."""
    step = next((step for below, step in _STEPS if interval < below), 6 * _HOUR)
    return min(step, _HOUR) if whole else step


def width_of(interval: int) -> int:
    """How long the intervals shown are, µs: whole steps."""
    step = step_of(interval)
    return -(-interval // step) * step


def within(seen: Seen, step: int) -> tuple[Rows, Integers]:
    """Samples of the steps (µs) that are wholly in the range, and when the step of each begins."""
    begins = (seen.rows.at - 1) // step * step
    kept = (begins >= seen.begin) & (begins + step <= seen.end)
    return seen.rows[kept], begins[kept]


def told(
    seen: Seen, labels: Sequence[str], columns: Columns, *, whole: bool = False, owned: bool = False
) -> dict[Key, Told]:
    """By when an interval begins and the labels (`site`, `model`, `use`); all of the range as one where `whole`.

    With `owned` times and groups that were only counted are there too. An interval is as long as anything is told of.
    """
    step, width = step_of(seen.interval, whole=whole), width_of(seen.interval)
    rows, begins = within(seen, step)
    counted = _owned(seen, labels, step) if owned else {}
    moments = {*np.unique(begins).tolist(), *counted}
    if not moments:
        return {}
    first, last = min(moments), max(moments) + step

    def shown(at: Any) -> Any:
        return at * 0 if whole else at // width * width

    def seconds(at: Any) -> float:
        return float(last - first if whole else min(at + width, last) - max(at, first)) / 1e6

    keys = [shown(begins), *(rows.use if name == "use" else rows.named(name) for name in labels)]
    given = columns(rows)
    found = {key: dict(zip(given, each, strict=True)) for key, each in sums(keys, *given.values())}
    of_counts = _mean_owned(counted, shown)
    groups = {key[1:] for key in (*found, *of_counts)}
    return {
        (at, *group): Told(seconds(at), found.get((at, *group)), of_counts.get((at, *group)))
        for at in {shown(at) for at in moments}
        for group in groups
    }


def series(
    seen: Seen, labels: Sequence[str], columns: Columns, value: Callable[[Told], float | None], *, owned: bool = False
) -> Series:
    """One value of each."""
    return {key: [value(each)] for key, each in told(seen, labels, columns, owned=owned).items()}


def _owned(seen: Seen, labels: Sequence[str], step: int) -> dict[int, dict[Key, int]]:
    """How many GPUs there were whenever they were counted, by `site` or `model`."""
    places = [("site", "model").index(name) for name in labels]
    found: dict[int, dict[Key, int]] = {}
    for at, of_states in counts(seen, step).items():
        if at + step <= seen.end:
            found[at] = defaultdict(int)
            for key, count in of_states.items():
                found[at][tuple(key[place] for place in places)] += count
    return found


def _mean_owned(counted: Mapping[int, Mapping[Key, int]], shown: Callable[[int], int]) -> dict[Key, float]:
    total: dict[Key, int] = defaultdict(int)
    times: dict[int, int] = defaultdict(int)
    for at, groups in counted.items():
        times[shown(at)] += 1
        for group, count in groups.items():
            total[(shown(at), *group)] += count
    return {key: count / times[key[0]] for key, count in total.items()}


def observed(rows: Rows) -> dict[str, Floats]:
    """GPU-seconds."""
    return {"observed": rows.seconds}


def by_use(rows: Rows) -> dict[str, Floats]:
    """GPU-seconds, and those of each use."""
    used = rows.use
    uses = {use: np.where(used == use, rows.seconds, 0.0) for use in USES}
    return {"observed": rows.seconds} | uses


def of_metric(metric: str) -> Columns:
    """A metric's `total` (unit × s), and the seconds that it is `known` of."""

    def columns(rows: Rows) -> dict[str, Floats]:
        values = rows.values(metric)
        known: Floats = np.where(np.isnan(values), 0.0, rows.seconds)
        return {"total": values * rows.seconds, "known": known}

    return columns
