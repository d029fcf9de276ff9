"""A rule's thresholds as they are in force: usual ones, and others for sites and models."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Float, and_, case, literal, null, true

Ints = NDArray[np.int64]
PREFIX = "limit_"


@dataclass(frozen=True, slots=True)
class Part:
    """What is set otherwise where both hold: a site, a model; None is any."""

    site: str | None
    model: str | None
    limits: Mapping[str, float]

    def holds(self, site: str | None, model: str | None) -> bool:
        """Whether a subject of this site and model is of it."""
        return self.site in (None, site) and self.model in (None, model)


@dataclass(frozen=True, slots=True)
class Limits:
    """The thresholds of one rule. Of several parts that hold the last one counts."""

    usual: Mapping[str, float]
    parts: Sequence[Part] = field(default=())

    def __getitem__(self, name: str) -> float:
        """The usual value; KeyError where the rule has no such threshold."""
        return self.usual[name]

    def largest(self, name: str) -> float:
        """The largest value that it has anywhere: as far as one has to look."""
        return max([self.usual[name], *(part.limits[name] for part in self._of(name))])

    def columns(self, site: ColumnElement[str] | None, model: ColumnElement[str] | None) -> list[ColumnElement[float]]:
        """For a select: `limit_<name>` of each threshold, by the columns of site and model; None where it has none."""
        return [self.column(name, site, model).label(PREFIX + name) for name in self.usual]

    def arrays(
        self, sites: Sequence[str | None], models: Sequence[str | None], site: Ints, model: Ints
    ) -> dict[str, NDArray[np.float64] | np.float64]:
        """The same for arrays: `site` and `model` are places in `sites` and `models`."""
        found: dict[str, NDArray[np.float64] | np.float64] = {}
        for name in self.usual:
            table = np.array([[self.of(name, one, other) for other in models] for one in sites], np.float64)
            found[PREFIX + name] = table[site, model] if self._of(name) else np.float64(self.usual[name])
        return found

    def of(self, name: str, site: str | None, model: str | None) -> float:
        """The value for a subject of a site and a model."""
        found = [part.limits[name] for part in self._of(name) if part.holds(site, model)]
        return found[-1] if found else self.usual[name]

    def _of(self, name: str) -> list[Part]:
        return [part for part in self.parts if name in part.limits]

    def column(
        self, name: str, site: ColumnElement[str] | None, model: ColumnElement[str] | None
    ) -> ColumnElement[float]:
        """One of them."""
        # The last part counts: it is asked first.
        whens = [(_holds(part, site, model), _number(part.limits[name])) for part in reversed(self._of(name))]
        usual = _number(self.usual[name])
        return case(*whens, else_=usual) if whens else usual


def _holds(part: Part, site: ColumnElement[str] | None, model: ColumnElement[str] | None) -> ColumnElement[bool]:
    given = ((part.site, site), (part.model, model))
    return and_(true(), *((null() if column is None else column) == name for name, column in given if name is not None))


def _number(value: float) -> ColumnElement[float]:
    return literal(float(value), Float(53))
