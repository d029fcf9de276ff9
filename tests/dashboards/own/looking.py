"""What a board's panels show of the made-up store, plainly: rows as mappings, times in µs."""

import datetime
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.dashboards.fleet.boards import Asked
from tests.dashboards.grafana_sql.front import Range, Variable
from tests.dashboards.grafana_sql.intervals import of_range
from tests.dashboards.own.rows import SECOND, Made, Row
from tests.dashboards.so_far import SoFar

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Look:
    """A panel, the range, and what is chosen; `now` (µs) when it was asked."""

    made: Made
    asked: Asked
    range: Range
    chosen: Sequence[Variable]
    now: int

    @property
    def begin(self) -> int:
        """Of the range, µs: whole seconds."""
        return self.range.begin // 1000 * SECOND

    @property
    def end(self) -> int:
        """Of the range, µs."""
        return self.range.end // 1000 * SECOND

    @property
    def interval(self) -> int:
        """The panel's interval, µs."""
        of = self.asked.statement
        return of_range(self.range.end - self.range.begin, of.points, of.least).ms * 1000

    def within(self, at: int | None) -> bool:
        """Whether a time is in the range."""
        return at is not None and self.begin <= at < self.end

    def here(self, site: str | None) -> bool:
        """Whether a site is chosen."""
        (found,) = (each for each in self.chosen if each.name == "site")
        wanted = found.chosen if isinstance(found.chosen, tuple) else (found.chosen,)
        return (site or "(none)") in wanted

    @property
    def rows(self) -> list[Row]:
        """What it shows."""
        names = [name for name, _ in self.asked.columns]
        return [dict(zip(names, map(_plain, row), strict=True)) for row in self.asked.rows]


# What a panel has to show: rows with some of its columns, in any order.
Truth = Callable[[Look], Sequence[Mapping[str, Any]]]


def complaint(look: Look, wanted: Sequence[Mapping[str, Any]]) -> str | None:
    """What is not as it has to be. Rows in which no number is are ends of lines, and no matter."""
    left = [row for row in look.rows if not _ends_a_line(look, row)]
    for each in wanted:
        match = next((row for row in left if all(_alike(row[name], value) for name, value in each.items())), None)
        if match is None:
            return f"{look.asked.what}: {each} is not there, but {left[:2]}"
        left.remove(match)
    return f"{look.asked.what}: should not be: {left[:2]}" if left else None


def _ends_a_line(look: Look, row: Row) -> bool:
    series = look.asked.statement.form == "time_series"
    return series and not any(isinstance(value, float) for value in row.values())


def _alike(told: Any, wanted: Any) -> bool:
    if isinstance(wanted, SoFar):
        return told is not None and wanted.fits(told)
    if isinstance(told, int | float) and isinstance(wanted, int | float):
        return math.isclose(told, wanted, rel_tol=1e-11, abs_tol=1e-9)
    return bool(told == wanted)


def _plain(value: Any) -> Any:
    if isinstance(value, datetime.datetime):
        return (value - _EPOCH) // datetime.timedelta(microseconds=1)
    if value is None or isinstance(value, str | bool):
        return value
    return float(value)
