"""The kinds of panels: what each draws, how Grafana reads its query, and what the query has to return."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from grafana_foundation_sdk.builders import (
    barchart,
    bargauge,
    common,
    heatmap,
    piechart,
    stat,
    statetimeline,
    table,
    text,
    timeseries,
)
from grafana_foundation_sdk.models import common as model
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.piechart import PieChartLegendValues, PieChartType
from grafana_foundation_sdk.models.text import TextMode

from gpufleet_dashboards.query import Format, Query, Type

# What cells of heat have for 0: less is hidden.
NOUGHT = 1e-10
_LONGEST_LABEL = 24


class Kind(Protocol):
    """What a panel is: how it reads its query, the builder of the SDK for it, and what is wrong with a query for it."""

    @property
    def reads(self) -> Format:
        """How Grafana reads the result."""
        ...

    def builder(self) -> Any:
        """A builder with what is of this kind alone."""
        ...

    def complaint(self, query: Query) -> str | None:
        """Why the query's columns do not serve; None where they do."""
        ...


def _series(query: Query) -> str | None:
    if "time" not in query.returns or query.returns["time"].type is not Type.TIME:
        return "needs a column `time` of times"
    if not query.of_type(Type.NUMBER):
        return "needs a column of numbers"
    if set(query.of_type(Type.TIME, Type.FLAG)) != {"time"}:
        return "has no use for other times, or flags, than `time`"
    if "metric" in query.returns:
        return "must not call a column `metric`: of three columns Grafana takes that for the name of the series"
    return None


def _numbers(query: Query) -> str | None:
    return None if query.of_type(Type.NUMBER) else "needs a column of numbers"


def _named(query: Query) -> str | None:
    if len(query.of_type(Type.TEXT)) != 1 or not query.of_type(Type.NUMBER) or query.of_type(Type.TIME, Type.FLAG):
        return "needs one column of texts and, beside it, numbers"
    return None


def _rows(query: Query) -> str | None:
    """Of kinds that show every row by itself."""
    if any(query.returns[name].title for name in query.of_type(Type.NUMBER)):
        return "must give its number no heading: Grafana would call every row so, and not by its text"
    return None


def _legend(shown: bool = True, calculations: tuple[str, ...] = ()) -> Any:
    mode = model.LegendDisplayMode.TABLE if calculations else model.LegendDisplayMode.LIST
    legend = common.VizLegendOptions().show_legend(shown).display_mode(mode).calcs(list(calculations))
    return legend.placement(model.LegendPlacement.BOTTOM)


def _tooltip() -> Any:
    return common.VizTooltipOptions().mode(model.TooltipDisplayMode.MULTI).sort(model.SortOrder.DESCENDING)


def _last(every_row: bool = False) -> Any:
    return common.ReduceDataOptions().values(every_row).calcs(["lastNotNull"]).fields("")


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines over time: a series for each combination of the query's texts, and each column of numbers.

    `stacked` on each other, as areas. `bars`: an interval is a bar. Without a value for an interval, a line ends.
    """

    stacked: bool = False
    bars: bool = False
    points: bool = False
    legend: tuple[str, ...] = ()
    reads: ClassVar[Format] = Format.SERIES

    def builder(self) -> Any:
        """See Kind."""
        panel = timeseries.Panel().legend(_legend(True, self.legend)).tooltip(_tooltip()).line_width(1)
        panel.fill_opacity(70 if self.bars else 30 if self.stacked else 6).span_nulls(False)
        panel.show_points(model.VisibilityMode.ALWAYS if self.points else model.VisibilityMode.AUTO)
        panel.draw_style(model.GraphDrawStyle.BARS if self.bars else model.GraphDrawStyle.LINE)
        if self.bars:
            # A time is when an interval begins; else its bar would be half before it.
            panel.bar_alignment(model.BarAlignment.AFTER)
        mode = model.StackingMode.NORMAL if self.stacked else model.StackingMode.NONE
        return panel.stacking(common.StackingConfig().mode(mode).group("A"))

    def complaint(self, query: Query) -> str | None:
        """See Kind."""
        return _series(query)


@dataclass(frozen=True, slots=True)
class Stat:
    """A number, or some, in large; of rows the last. `every_row`: a number a row, named by its text.

    `graph`: drawn of series by time, with the last value in large.
    """

    every_row: bool = False
    graph: bool = False
    coloured: bool = True

    @property
    def reads(self) -> Format:
        """See Kind."""
        return Format.SERIES if self.graph else Format.TABLE

    def builder(self) -> Any:
        """See Kind."""
        panel = stat.Panel().reduce_options(_last(self.every_row)).text_mode(model.BigValueTextMode.AUTO)
        panel.graph_mode(model.BigValueGraphMode.AREA if self.graph else model.BigValueGraphMode.NONE)
        return panel.color_mode(model.BigValueColorMode.VALUE if self.coloured else model.BigValueColorMode.NONE)

    def complaint(self, query: Query) -> str | None:
        """See Kind."""
        if self.graph:
            return _series(query)
        return _numbers(query) or (_rows(query) if self.every_row else None)


@dataclass(frozen=True, slots=True)
class Table:
    """Rows as they are. `sort`: the column by which Grafana sorts, and whether the largest is first."""

    sort: tuple[str, bool] | None = None
    filterable: bool = False
    reads: ClassVar[Format] = Format.TABLE

    def builder(self) -> Any:
        """See Kind."""
        panel = table.Panel().show_header(True).cell_height(model.TableCellHeight.SM).filterable(self.filterable)
        if self.sort is not None:
            name, descending = self.sort
            panel.sort_by([common.TableSortByFieldState().display_name(name).desc(descending)])
        return panel

    def complaint(self, query: Query) -> str | None:
        """See Kind."""
        if self.sort is not None and self.sort[0] not in {c.title or n for n, c in query.returns.items()}:
            return f"can't sort by {self.sort[0]}, which no heading is"
        return None


@dataclass(frozen=True, slots=True)
class States:
    """A band for each series, coloured by what its number stands for: the panel's `values`, or its `steps`."""

    height: float = 0.9
    reads: ClassVar[Format] = Format.SERIES

    def builder(self) -> Any:
        """See Kind."""
        panel = statetimeline.Panel().legend(_legend()).tooltip(_tooltip()).merge_values(True)
        panel.show_value(model.VisibilityMode.NEVER).span_nulls(False)
        return panel.row_height(self.height).fill_opacity(80).line_width(0)

    def complaint(self, query: Query) -> str | None:
        """See Kind."""
        return _series(query)


@dataclass(frozen=True, slots=True)
class Bands:
    """A band for each text in the column `by`, of rows in the order of time: the other column holds from each on.

    That may be a text; NULL is a gap. Unlike series by time, which take numbers, and where one of them has a value at a
    time, want one of all.
    """

    by: str
    height: float = 0.9
    reads: ClassVar[Format] = Format.TABLE

    def builder(self) -> Any:
        """See Kind."""
        panel = statetimeline.Panel().legend(_legend(False)).tooltip(_tooltip()).merge_values(True)
        panel.show_value(model.VisibilityMode.AUTO).span_nulls(False).align_value(model.TimelineValueAlignment.LEFT)
        # All bands of a row have one colour: the line shows where one ends.
        panel.row_height(self.height).fill_opacity(40).line_width(1)
        naming = {"asLabels": True}
        options = {"fields": [self.by], "keepFields": False, "naming": naming}
        panel.display_name(f"${{__field.labels.{self.by}}}")
        return panel.with_transformation(DataTransformerConfig(id_val="partitionByValues", options=options))

    def complaint(self, query: Query) -> str | None:
        """See Kind."""
        if self.by not in query.of_type(Type.TEXT) or query.of_type(Type.TIME) != ["time"] or len(query.returns) != 3:
            return f"needs a column `time` of times, the text `{self.by}`, and one of what holds"
        return None


@dataclass(frozen=True, slots=True)
class Heat:
    """A row for each series, a cell for each interval, coloured by the value from the panel's `low` to its `high`.

    Grafana draws a cell before its time, which is to be the interval's end, and hides noughts, or shows what is absent
    as one: `statements.single.cells_of_each` gives them as that little that is shown.
    """

    scheme: str = "Oranges"
    reads: ClassVar[Format] = Format.SERIES

    def builder(self) -> Any:
        """See Kind."""
        panel = heatmap.Panel().calculate(False).cell_gap(1).color(self.colours(None, None)).show_legend()
        panel.rows_frame(heatmap.RowsHeatmapOptions().layout(model.HeatmapCellLayout.AUTO))
        panel.filter_values(heatmap.FilterValueRange().le(NOUGHT / 100))
        panel.tooltip(heatmap.HeatmapTooltip().mode(model.TooltipDisplayMode.SINGLE).y_histogram(False))
        return panel.y_axis(heatmap.YAxisConfig().reverse(True).axis_placement(model.AxisPlacement.LEFT))

    def colours(self, low: float | None, high: float | None) -> heatmap.HeatmapColorOptions:
        """From which value to which; None: what is least, or most, of what is shown."""
        colour = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme(self.scheme).steps(64)
        colour.exponent(1).fill("dark-orange").scale(HeatmapColorScale.LINEAR).reverse(False)
        for option, value in ((colour.min, low), (colour.max, high)):
            if value is not None:
                option(value)
        return colour

    def complaint(self, query: Query) -> str | None:
        """See Kind."""
        return _series(query)


@dataclass(frozen=True, slots=True)
class Gauges:
    """A horizontal bar a row, named by its text, filled by its number."""

    reads: ClassVar[Format] = Format.TABLE

    def builder(self) -> Any:
        """See Kind."""
        panel = bargauge.Panel().reduce_options(_last(True)).orientation(model.VizOrientation.HORIZONTAL)
        panel.display_mode(model.BarGaugeDisplayMode.BASIC).value_mode(model.BarGaugeValueMode.COLOR)
        return panel.name_placement(model.BarGaugeNamePlacement.LEFT).show_unfilled(True)

    def complaint(self, query: Query) -> str | None:
        """See Kind."""
        return _named(query) or _rows(query)


@dataclass(frozen=True, slots=True)
class Columns:
    """Bars of categories: the query's text is the category, each column of numbers a bar of it."""

    stacked: bool = False
    horizontal: bool = False
    reads: ClassVar[Format] = Format.TABLE

    def builder(self) -> Any:
        """See Kind."""
        panel = barchart.Panel().legend(_legend()).tooltip(_tooltip()).fill_opacity(75).line_width(1)
        panel.orientation(model.VizOrientation.HORIZONTAL if self.horizontal else model.VizOrientation.AUTO)
        panel.show_value(model.VisibilityMode.AUTO).bar_width(0.9).group_width(0.8)
        # The SDK says 0 else, which leaves three dots of each.
        panel.x_tick_label_max_length(_LONGEST_LABEL)
        return panel.stacking(model.StackingMode.NORMAL if self.stacked else model.StackingMode.NONE)

    def complaint(self, query: Query) -> str | None:
        """See Kind."""
        return _named(query)


@dataclass(frozen=True, slots=True)
class Pie:
    """Shares of a whole: a slice a row, named by its text."""

    reads: ClassVar[Format] = Format.TABLE

    def builder(self) -> Any:
        """See Kind."""
        legend = piechart.PieChartLegendOptions().show_legend(True).display_mode(model.LegendDisplayMode.TABLE)
        legend.placement(model.LegendPlacement.RIGHT).calcs([])
        legend.values([PieChartLegendValues.VALUE, PieChartLegendValues.PERCENT])
        panel = piechart.Panel().reduce_options(_last(True)).pie_type(PieChartType.DONUT)
        return panel.legend(legend).tooltip(_tooltip())

    def complaint(self, query: Query) -> str | None:
        """See Kind."""
        return _named(query) or _rows(query)


@dataclass(frozen=True, slots=True)
class Words:
    """A text of the board's own, in Markdown; the only kind without a query."""

    content: str = field(default="")
    reads: ClassVar[Format] = Format.TABLE

    def builder(self) -> Any:
        """See Kind."""
        return text.Panel().mode(TextMode.MARKDOWN).content(self.content)

    def complaint(self, query: Query) -> str | None:
        """See Kind."""
        return "has no query"
