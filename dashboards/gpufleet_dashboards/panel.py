"""A panel: what it shows, in words and units, and of which query. A wrong one fails when it is made."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from gpufleet_dashboards.kinds import Kind, Lines, Stat, States, Words
from gpufleet_dashboards.links import Link
from gpufleet_dashboards.query import Format, Query, Type
from gpufleet_dashboards.scale import Step, Value

GRID = 24
# Descriptions say what a figure means and when it misleads: that takes more than a title.
_SHORTEST_DESCRIPTION = 40
# About as many points as a wide panel has pixels for; each costs a row of each series.
_POINTS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel, `w` columns of 24 wide and `h` rows of about 38 pixels high.

    `unit` is of the values (`gpufleet_dashboards.units`); a column's own goes before. `steps` and `values` colour the
    values, `colours` the series of those names. `links` lead from a point or a value. `low` and `high` are the ends of
    the scale. `points` is how many intervals the range is cut into at most, `finest` how short one is at least.
    """

    kind: Kind
    title: str
    description: str
    unit: str
    query: Query | None
    w: int
    h: int
    steps: tuple[Step, ...] = ()
    values: tuple[Value, ...] = ()
    colours: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    links: tuple[Link, ...] = ()
    low: float | None = None
    high: float | None = None
    decimals: int | None = None
    points: int = _POINTS
    finest: str = "10s"
    nothing: str = ""
    legend: str = ""

    def __post_init__(self) -> None:
        if (complaint := self._complaint()) is not None:
            raise ValueError(f"panel {self.title!r}: {complaint}")

    @property
    def all_links(self) -> tuple[Link, ...]:
        """Its links, those of single columns too."""
        columns = self.query.returns.values() if self.query is not None else ()
        return (*self.links, *(column.link for column in columns if column.link is not None))

    @property
    def series_name(self) -> str:
        """What Grafana is to call a series, with its placeholders; empty where its own name is right."""
        if self.legend or self.query is None or self.kind.reads is not Format.SERIES:
            return self.legend
        if not self.query.of_type(Type.TEXT):
            return ""
        return self._named("${__field.name}", self.query)

    def column_name(self, column: str) -> str:
        """What Grafana is to call a column, or the series of it, where its title says so; empty where it does not.

        What a column is called goes before the panel's own name for its series, and is of all of them: with a title
        alone, series that labels tell apart would all be called the same.
        """
        of = self.query.returns[column] if self.query is not None else None
        if self.query is None or of is None or not of.title or self.kind.reads is Format.TABLE:
            return of.title if of is not None else ""
        if self.legend or of.type is not Type.NUMBER:
            return ""
        return self._named(of.title, self.query)

    def _named(self, title: str, query: Query) -> str:
        labels = [f"${{__field.labels.{name}}}" for name in query.of_type(Type.TEXT)]
        several = not labels or len(query.of_type(Type.NUMBER)) > 1
        return " ".join([title] * several + labels)

    def _complaint(self) -> str | None:
        if not self.title.strip():
            return "has no title"
        if len(self.description.strip()) < _SHORTEST_DESCRIPTION:
            return "its description does not say what the figure means and when it misleads"
        if not 1 <= self.w <= GRID or self.h < 1:
            return f"is {self.w} wide and {self.h} high"
        return self._figure_complaint()

    def _figure_complaint(self) -> str | None:
        if isinstance(self.kind, Words):
            return None if self.query is None else self.kind.complaint(self.query)
        if not self.unit:
            return "has no unit"
        if self.query is None:
            return "has no query"
        return self.kind.complaint(self.query) or self._series_complaint() or self._link_complaint(self.query)

    def _link_complaint(self, query: Query) -> str | None:
        labels = query.of_type(Type.TEXT) if self.kind.reads is Format.SERIES else []
        for link in self.all_links:
            for name in link.fields - set(query.returns):
                return f"leads to {link.board} by a column {name}, which its query has not"
            for name in link.labels - set(labels):
                return f"leads to {link.board} by a label {name}, which its series have not"
        return None

    def _series_complaint(self) -> str | None:
        if isinstance(self.kind, States) and not (self.values or self.steps):
            return "says nothing of what its states are"
        if self.colours and not isinstance(self.kind, Lines | Stat) and self.kind.reads is Format.SERIES:
            return "its series take their colours from their values"
        return None
