"""A board: rows of panels, what is chosen at its top, and what is marked in its graphs."""

from collections.abc import Iterator
from dataclasses import dataclass

from gpufleet_dashboards.links import uid
from gpufleet_dashboards.panel import Panel
from gpufleet_dashboards.query import Query, Type
from gpufleet_dashboards.variable import Variable


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under a heading, from left to right; each line of them is filled. `collapsed`: shown on demand."""

    title: str
    panels: tuple[Panel, ...]
    collapsed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Annotation:
    """Marks in the graphs of a board: rows of `time` and `text`, and of `timeend` where they last, and of `tags`."""

    name: str
    query: Query
    colour: str
    shown: bool = True

    def __post_init__(self) -> None:
        wanted = {"time": Type.TIME, "timeend": Type.TIME, "text": Type.TEXT, "tags": Type.TEXT}
        there = {name: column.type for name, column in self.query.returns.items()}
        if not {"time", "text"} <= set(there) or any(wanted.get(name) is not type_ for name, type_ in there.items()):
            raise ValueError(f"annotation {self.name!r}: its columns are time, text and, at will, timeend and tags")


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard. `name` is its module's. `range` is how far back it shows at first, `refresh` how often it asks."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()
    annotations: tuple[Annotation, ...] = ()
    range: str = "now-24h"
    refresh: str = "1m"

    @property
    def uid(self) -> str:
        """What Grafana knows it by."""
        return uid(self.name)

    @property
    def panels(self) -> Iterator[Panel]:
        """All panels, from the top."""
        for row in self.rows:
            yield from row.panels

    @property
    def queries(self) -> Iterator[tuple[str, Query]]:
        """Every query, with what asks it: a panel, a variable or an annotation."""
        yield from ((f"variable {each.name}", each.query) for each in self.variables)
        yield from ((f"annotation {each.name}", each.query) for each in self.annotations)
        yield from ((f"panel {each.title}", each.query) for each in self.panels if each.query is not None)
