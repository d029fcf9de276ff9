"""A small board of every kind of panel, for tests of what is made of boards."""

from gpufleet_dashboards import units
from gpufleet_dashboards.board import Annotation, Board, Row
from gpufleet_dashboards.kinds import Columns, Gauges, Heat, Kind, Lines, Pie, Stat, States, Table, Words
from gpufleet_dashboards.links import Link, field
from gpufleet_dashboards.panel import Panel
from gpufleet_dashboards.query import TIME, Query, number, text
from gpufleet_dashboards.scale import GREEN, RED, USE_COLOURS, numbered, steps
from gpufleet_dashboards.variable import OPTIONS, Variable

DESCRIPTION = "What the figure means, in words, and when it misleads whoever looks at it."
SITE = Variable(name="site", label="Site", description="Where.", query=Query("SELECT 'a', 'a'", OPTIONS), several=True)
SERIES = Query(
    "SELECT now() AS time, 'a' AS site, 1.0 AS gpus WHERE 'a' = ANY (ARRAY[$site]::text[])",
    {"time": TIME, "site": text(), "gpus": number(units.COUNT)},
)
NAMED = Query("SELECT 'a' AS site, 1.0 AS gpus", {"site": text(), "gpus": number(units.COUNT)})
ROWS = Query(
    "SELECT 'a' AS site, 1.0 AS gpus",
    {
        "site": text("Site", link=Link("There", "small", (("site", field("site")),), ())),
        "gpus": number(units.COUNT, "GPUs", steps=steps(GREEN, (3, RED))),
    },
)


def panel(kind: Kind, query: Query | None, w: int = 8, h: int = 6, title: str = "GPUs") -> Panel:
    """A panel of a kind."""
    states = numbered(USE_COLOURS) if isinstance(kind, States) else ()
    return Panel(
        kind=kind, title=title, description=DESCRIPTION, unit=units.COUNT, query=query, w=w, h=h, values=states
    )


def board(*rows: Row) -> Board:
    """A board of these rows, else of every kind of panel."""
    first = Row("First", (panel(Lines(), SERIES), panel(Stat(), NAMED), panel(Table(sort=("GPUs", True)), ROWS)))
    second = Row(
        "Second",
        (
            *(panel(kind, SERIES) for kind in (States(), Heat(), Stat(graph=True))),
            *(panel(kind, NAMED) for kind in (Gauges(), Columns(), Pie())),
            panel(Words("Read *this*."), None, w=24),
        ),
        collapsed=True,
    )
    marks = Query("SELECT now() AS time, 'a' AS text", {"time": TIME, "text": text()})
    return Board(
        name="small",
        title="Small",
        description=DESCRIPTION,
        variables=(SITE,),
        annotations=(Annotation(name="marks", query=marks, colour=RED),),
        rows=rows or (first, second),
    )
