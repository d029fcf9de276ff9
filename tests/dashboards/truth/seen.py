"""What somebody sees in a panel, and what has to be there: the two that are held against each other."""

import datetime
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from gpufleet_dashboards.query import Type

from tests.dashboards.fleet.boards import Asked
from tests.dashboards.fleet.rows import Key, Rows
from tests.dashboards.fleet.world import World
from tests.dashboards.grafana_sql.front import Range, Variable
from tests.dashboards.grafana_sql.intervals import of_range
from tests.dashboards.so_far import SoFar

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
# (time in µs, texts …) → what is beside them.
Series = Mapping[Key, Sequence[float | str | None]]
Listing = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Seen:
    """A panel as somebody sees it: what was asked, and all that was sent."""

    world: World
    every: Rows
    asked: Asked
    range: Range
    variables: Sequence[Variable]

    @property
    def begin(self) -> int:
        """Of the range, µs: whole seconds, as Grafana gives them."""
        return self.range.begin // 1000 * 1_000_000

    @property
    def end(self) -> int:
        """Of the range, µs."""
        return self.range.end // 1000 * 1_000_000

    @property
    def interval(self) -> int:
        """The panel's interval, µs."""
        of = self.asked.statement
        return of_range(self.range.end - self.range.begin, of.points, of.least).ms * 1000

    def values(self, name: str) -> tuple[str, ...]:
        """What is chosen of a variable."""
        (found,) = (each for each in self.variables if each.name == name)
        return found.chosen if isinstance(found.chosen, tuple) else (found.chosen,)

    @property
    def asked_at(self) -> int:
        """When it was asked, µs: the world's end is ahead of the clock."""
        return self.asked.at

    @cached_property
    def rows(self) -> Rows:
        """The samples of the sites and models that are chosen."""
        return self.every.chosen(site=self.values("site"), model=self.values("model"))

    def is_chosen(self, site: str, model: str | None = None) -> bool:
        """Whether a site is chosen, and a model where it is one."""
        return site in self.values("site") and (model is None or model in self.values("model"))


@dataclass(frozen=True)
class Expected:
    """What has to be there: series, or rows with some of the columns; how far numbers may be off.

    Of more than `most` rows that many have to be there, whichever.
    """

    series: Series | None = None
    listing: Listing | None = None
    relative: float = 1e-6
    absolute: float = 1e-9
    most: int | None = None


Truth = Callable[[Seen], Expected]


def complaints(seen: Seen, expected: Expected) -> list[str]:
    """What is not as it has to be; a few of each kind."""
    if expected.series is not None:
        return _of_series(seen.asked, expected)
    return _of_listing(seen.asked, expected)


def _of_series(asked: Asked, expected: Expected) -> list[str]:
    assert expected.series is not None
    told, wanted = _series(asked, expected.series), _there(expected.series)
    missing, beyond = sorted(wanted.keys() - told.keys()), sorted(told.keys() - wanted.keys())
    wrong = [key for key in sorted(told.keys() & wanted.keys()) if not _same(told[key], wanted[key], expected)]
    found = [f"{len(missing)} missing, such as {missing[0]}: {wanted[missing[0]]}"] if missing else []
    found += [f"{len(beyond)} that should not be, such as {beyond[0]}: {told[beyond[0]]}"] if beyond else []
    found += [f"{len(wrong)} wrong, such as {key}: {told[key]}, not {wanted[key]}" for key in wrong[:1]]
    return [f"{asked.board}: {asked.what}: of {len(wanted)}, {each}" for each in found]


def _series(asked: Asked, wanted: Series) -> dict[Key, list[Any]]:
    """What was told, by as many times and texts as tell apart what is wanted."""
    types = [column.type for column in asked.returns.values()]
    keys = [place for place, each in enumerate(types) if each in (Type.TIME, Type.TEXT)]
    keys = keys[: len(next(iter(wanted), keys))]
    values = [place for place in range(len(types)) if place not in keys]
    told = {tuple(plain(row[place]) for place in keys): [row[place] for place in values] for row in asked.rows}
    return _there(told)


def _there(series: Series) -> dict[Key, list[Any]]:
    """Without what has no value at all."""
    return {key: list(values) for key, values in series.items() if any(_is_there(each) for each in values)}


def _is_there(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _of_listing(asked: Asked, expected: Expected) -> list[str]:
    assert expected.listing is not None
    names = [name for name, _ in asked.columns]
    told = [dict(zip(names, map(plain, row), strict=True)) for row in asked.rows]
    left, missing = list(told), []
    for wanted in expected.listing:
        match = next((row for row in left if _fits(row, wanted, expected)), None)
        if match is None:
            missing.append(wanted)
        else:
            left.remove(match)
    cut = expected.most is not None and len(expected.listing) > expected.most == len(told)
    found = [f"{len(missing)} missing, such as {missing[0]}"] if missing and not cut else []
    found += [f"{len(left)} that should not be, such as {left[0]}"] if left else []
    return [f"{asked.board}: {asked.what}: of {len(expected.listing)} rows {each}" for each in found]


def _fits(row: Mapping[str, Any], wanted: Mapping[str, Any], expected: Expected) -> bool:
    return _same([row[name] for name in wanted], list(wanted.values()), expected)


def _same(told: Iterable[Any], wanted: Iterable[Any], expected: Expected) -> bool:
    return all(_alike(a, b, expected) for a, b in zip(told, wanted, strict=True))


def _alike(told: Any, wanted: Any, expected: Expected) -> bool:
    if isinstance(wanted, SoFar):
        return _is_there(told) and wanted.fits(float(told))
    if not _is_there(told) or not _is_there(wanted):
        return _is_there(told) == _is_there(wanted)
    if isinstance(wanted, str) or isinstance(told, str):
        return bool(told == wanted)
    return math.isclose(float(told), float(wanted), rel_tol=expected.relative, abs_tol=expected.absolute)


def plain(value: Any) -> Any:
    """A value as truths have it: times are µs."""
    if isinstance(value, datetime.datetime):
        return (value - _EPOCH) // datetime.timedelta(microseconds=1)
    return value
