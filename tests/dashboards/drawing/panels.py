"""Draws a panel of each kind into a box of a figure. Rough, in Grafana's manner; the figures are the query's own."""

import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tests.dashboards.drawing import colours
from tests.dashboards.drawing.frames import FLAG, NUMBER, TEXT, TIME, Frame
from tests.dashboards.drawing.look import Look, look
from tests.dashboards.drawing.units import axis
from tests.dashboards.grafana_sql.frames import Field

SMALL, INK, FAINT = 7.5, "#24292E", "#8E8E8E"
# As many rows of a legend, and series of a picture, as can be read.
_MOST_NAMED, _MOST_ROWS = 8, 40


@dataclass(frozen=True)
class Box:
    """Where a panel's content goes: px from the left and from the top of a figure of this size."""

    figure: Figure
    left: float
    top: float
    width: float
    height: float

    def axes(self, left: float = 0, top: float = 0, right: float = 0, bottom: float = 0) -> Axes:
        """Axes within the box, with room (px) at their sides."""
        wide, high = self.figure.get_size_inches() * self.figure.dpi
        width, height = max(self.width - left - right, 10), max(self.height - top - bottom, 10)
        place = ((self.left + left) / wide, 1 - (self.top + top + height) / high, width / wide, height / high)
        found = self.figure.add_axes(place)
        found.tick_params(labelsize=SMALL, colors=FAINT, length=2)
        for side in found.spines.values():
            side.set_visible(False)
        return found

    def blank(self) -> Axes:
        """Axes in px, the origin at the top left."""
        found = self.axes()
        found.set_xlim(0, self.width)
        found.set_ylim(self.height, 0)
        found.axis("off")
        return found


Panel = Mapping[str, Any]
Shown = tuple[Field, Look, Frame]


def shown(panel: Panel, frames: Sequence[Frame], *kinds: str) -> list[Shown]:
    """The fields of these kinds that are not hidden, with how they look."""
    found = ((each, look(panel, each, of), of) for of in frames for each in of.of(*kinds))
    return [each for each in found if not (each[1].custom.get("hideFrom") or {}).get("viz")]


def timeseries(panel: Panel, frames: Sequence[Frame], box: Box) -> None:
    """Lines, areas or bars over time, stacked where the panel stacks them."""
    series = [each for each in shown(panel, frames, NUMBER, FLAG) if each[2].times]
    if not series:
        return nothing(box)
    ax = box.axes(left=52, top=2, right=8, bottom=34)
    below: dict[Any, np.ndarray[Any, Any]] = {}
    for place, (each, its, of) in enumerate(series):
        moments = _days(of.times)
        values = np.array([np.nan if value is None else float(value) for value in each.values])
        tint = its.colour(None, place)
        tint = colours.CLASSIC[place % len(colours.CLASSIC)] if tint == colours.ABSENT else tint
        stacked = (its.custom.get("stacking") or {}).get("mode", "none") != "none"
        base = below.get(moments.tobytes(), np.zeros(len(values))) if stacked else np.zeros(len(values))
        top = base + np.nan_to_num(values) if stacked else values
        if stacked:
            below[moments.tobytes()] = top
        _drawn(ax, its, moments, base, top, tint, stacked)
    _over_time(ax, series[0][1])
    _legend(ax, [its.name for _, its, _ in series], [line_colour(its, n) for n, (_, its, _) in enumerate(series)])
    return None


def line_colour(its: Look, place: int) -> str:
    """The colour of a series."""
    return its.colour(None, place)


def _drawn(ax: Axes, its: Look, moments: Any, base: Any, top: Any, tint: str, stacked: bool) -> None:
    filled = its.custom.get("fillOpacity", 0) / 100
    if its.custom.get("drawStyle") == "bars":
        width = (moments[1] - moments[0]) * 0.8 if len(moments) > 1 else 0.01
        ax.bar(moments, top - base, width=width, bottom=base, color=tint, align="edge")
        return
    step: Literal["post"] | None = "post" if its.custom.get("lineInterpolation") == "stepAfter" else None
    # What is only tinted would draw the axis down to nought.
    if filled >= 0.1 or stacked:
        ax.fill_between(moments, base, top, color=tint, alpha=max(filled, 0.1), linewidth=0, step=step)
    marker = "." if np.isfinite(top).sum() < 3 or its.custom.get("drawStyle") == "points" else None
    style = "none" if its.custom.get("drawStyle") == "points" else "-"
    ax.plot(moments, top, style, color=tint, linewidth=1, marker=marker, markersize=3,
            drawstyle="steps-post" if step else "default")  # fmt: skip


def _over_time(ax: Axes, its: Look) -> None:
    ax.margins(x=0)
    if "min" in its.config:
        ax.set_ylim(bottom=its.config["min"])
    if "max" in its.config:
        ax.set_ylim(top=its.config["max"])
    ax.grid(axis="y", color="#ECEEF0", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(FuncFormatter(axis(its.unit)))
    _dates(ax)


def _days(times: Sequence[Any]) -> Any:
    """Times as matplotlib counts them."""
    return date2num(times)  # type: ignore[no-untyped-call]


def _dates(ax: Axes) -> None:
    locator = AutoDateLocator(maxticks=8)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    ax.xaxis.get_offset_text().set_visible(False)


def _legend(ax: Axes, names: Sequence[str], tints: Sequence[str]) -> None:
    shorter = [textwrap.shorten(name, 28, placeholder="…") for name in names[:_MOST_NAMED]]
    marks = [Rectangle((0, 0), 1, 1, color=tint) for tint in tints[:_MOST_NAMED]]
    if len(names) > _MOST_NAMED:
        shorter[-1], marks[-1] = f"and {len(names) - _MOST_NAMED + 1} more", Rectangle((0, 0), 1, 1, color="none")
    ax.legend(marks, shorter, loc="upper left", bbox_to_anchor=(-0.02, -0.1), ncols=4, fontsize=SMALL - 0.5,
              frameon=False,
              handlelength=0.8, handleheight=0.5, columnspacing=1, borderaxespad=0.3)  # fmt: skip


# --- one figure ----------------------------------------------------------------------------------------------------


def stat(panel: Panel, frames: Sequence[Frame], box: Box) -> None:
    """Large figures side by side, in the colour of their value."""
    found = list(reduced(panel, frames))
    if not found:
        return nothing(box)
    ax, options = box.blank(), panel.get("options") or {}
    across = len(found) if box.width / len(found) > 70 else max(1, int(box.width // 90))
    high = box.height / math.ceil(len(found) / across)
    for place, (name, value, its) in enumerate(found):
        left, top = place % across * box.width / across, place // across * high
        tint = its.colour(value, 0)
        if options.get("colorMode") == "background" and tint != "none":
            ax.add_patch(Rectangle((left + 1, top + 1), box.width / across - 2, high - 2, color=tint))
            tint = "white"
        size = min(22.0, high * 0.36, 1.5 * box.width / across / max(len(its.text(value)), 4))
        ax.text(left + box.width / across / 2, top + high * 0.5, its.text(value), ha="center", va="center",
                color=INK if tint in ("none", colours.ABSENT) else tint, fontsize=size, fontweight="bold")  # fmt: skip
        if len(found) > 1 or options.get("textMode") in ("name", "value_and_name"):
            ax.text(left + box.width / across / 2, top + high * 0.86, textwrap.shorten(name, 24, placeholder="…"),
                    ha="center", va="center", color=FAINT, fontsize=SMALL)  # fmt: skip
    return None


_CALCS: dict[str, Callable[[list[Any]], Any]] = {
    "lastNotNull": lambda values: next((value for value in reversed(values) if value is not None), None),
    "last": lambda values: values[-1] if values else None,
    "firstNotNull": lambda values: next((value for value in values if value is not None), None),
    "first": lambda values: values[0] if values else None,
    "mean": lambda values: float(np.mean(known)) if (known := [v for v in values if v is not None]) else None,
    "max": lambda values: max((value for value in values if value is not None), default=None),
    "min": lambda values: min((value for value in values if value is not None), default=None),
    "sum": lambda values: sum(value for value in values if value is not None),
    "count": len,
}


def reduced(panel: Panel, frames: Sequence[Frame]) -> Iterator[tuple[str, Any, Look]]:
    """Name, value and look of what a panel of single figures shows: a field's reduced value, or each row's."""
    told = (panel.get("options") or {}).get("reduceOptions") or {}
    texts = told.get("fields", "") not in ("", "/.*/")
    fields = (
        shown(panel, frames, NUMBER, FLAG, TEXT, TIME) if told.get("fields") else shown(panel, frames, NUMBER, FLAG)
    )
    for each, its, of in fields:
        if texts and told["fields"].strip("/^$") not in (each.name, its.name):
            continue
        if told.get("values"):
            names = of.of(TEXT)
            for row, value in enumerate(each.values[: told.get("limit") or 25]):
                yield (str(names[0].values[row]) if names else its.name), value, its
        else:
            yield its.name, _CALCS[(told.get("calcs") or ["lastNotNull"])[0]](each.values), its


def bargauge(panel: Panel, frames: Sequence[Frame], box: Box) -> None:
    """A bar a figure, its value behind it."""
    found = list(reduced(panel, frames))[:_MOST_ROWS]
    if not found:
        return nothing(box)
    ax = box.axes(left=min(130, box.width / 3), right=60, top=2, bottom=4)
    values = [0.0 if value is None else float(value) for _, value, _ in found]
    most = found[0][2].config.get("max") or max([*values, 1e-9])
    for row, (_, value, its) in enumerate(found):
        ax.barh(row, most, color="#F1F3F5", height=0.7)
        ax.barh(row, values[row], color=its.colour(value, 0), height=0.7)
        ax.text(most * 1.02, row, its.text(value), va="center", fontsize=SMALL, color=INK)
    ax.set_yticks(range(len(found)), [textwrap.shorten(name, 22, placeholder="…") for name, _, _ in found])
    ax.set_ylim(len(found) - 0.4, -0.6)
    ax.set_xlim(0, most)
    ax.set_xticks([])
    return None


# --- many figures --------------------------------------------------------------------------------------------------


def table(panel: Panel, frames: Sequence[Frame], box: Box) -> None:
    """The first rows, as many as there is room for, with the cells coloured as the panel says."""
    of = frames[0] if frames else None
    columns = [each for each in shown(panel, frames[:1], NUMBER, FLAG, TEXT, TIME) if not each[1].custom.get("hidden")]
    if of is None or not columns or not len(of):
        return nothing(box)
    ax, high = box.blank(), 17.0
    room = int(box.height // high) - 1
    cells = [[its.text(value) for value in each.values[:room]] for each, its, _ in columns]
    widths = [max([len(its.name), *map(len, texts)]) + 2.0 for (_, its, _), texts in zip(columns, cells, strict=True)]
    lefts = np.concatenate([[0], np.cumsum(np.minimum(widths, 34))])
    scale = box.width / max(lefts[-1], box.width / 6.5)
    for (each, its, _), texts, begin, end in zip(columns, cells, lefts[:-1], lefts[1:], strict=True):
        fits = max(int((end - begin) * scale / 4.6), 3)
        ax.text(begin * scale + 4, high / 2, textwrap.shorten(its.name, fits, placeholder="…"), va="center",
                fontsize=SMALL, color="#3871DC", fontweight="bold")  # fmt: skip
        for row, text in enumerate(texts):
            _cell(
                ax, its, each.values[row], text[:fits], (begin * scale, (row + 1) * high, (end - begin) * scale, high)
            )
    left_out = len(of) - len(cells[0])
    if left_out > 0:
        ax.text(box.width - 4, box.height - 4, f"{left_out:,} more rows", ha="right", fontsize=SMALL, color=FAINT)
    return None


def _cell(ax: Axes, its: Look, value: Any, text: str, place: tuple[float, float, float, float]) -> None:
    left, top, width, high = place
    kind = (its.custom.get("cellOptions") or {}).get("type", "auto")
    tint = its.colour(value) if kind.startswith("color") and value is not None else "none"
    if kind == "color-background" and tint != "none":
        ax.add_patch(Rectangle((left + 1, top + 1), width - 2, high - 2, color=tint, alpha=0.75))
    ink = tint if kind == "color-text" and tint != "none" else INK
    ax.text(left + 4, top + high / 2, text, va="center", fontsize=SMALL, color=ink)


def state_timeline(panel: Panel, frames: Sequence[Frame], box: Box) -> None:
    """A row a series, in the colour of its value from each time to the next."""
    rows = [each for each in shown(panel, frames, NUMBER, FLAG, TEXT) if each[2].times][:_MOST_ROWS]
    if not rows:
        return nothing(box)
    ax = box.axes(left=min(120, box.width / 3), top=2, right=8, bottom=34)
    named: dict[str, str] = {}
    end = max(of.times[-1] for _, _, of in rows)
    for row, (each, its, of) in enumerate(rows):
        edges = _days([*of.times, end])
        held: Any = None
        for place, value in enumerate(each.values):
            held = value if value is not None or not its.custom.get("spanNulls") else held
            if held is None or edges[place + 1] <= edges[place]:
                continue
            tint = its.colour(held, abs(hash(str(held))) % 16)
            ax.barh(row, edges[place + 1] - edges[place], left=edges[place], color=tint, height=0.82, linewidth=0)
            named.setdefault(its.text(held), tint)
    ax.set_yticks(range(len(rows)), [textwrap.shorten(its.name, 20, placeholder="…") for _, its, _ in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.xaxis_date()
    ax.margins(x=0)
    _dates(ax)
    _legend(ax, list(named), list(named.values()))
    return None


def heatmap(panel: Panel, frames: Sequence[Frame], box: Box) -> None:
    """A row a series, the darker the higher its value."""
    rows = [each for each in shown(panel, frames, NUMBER) if each[2].times]
    if not rows:
        return nothing(box)
    ax = box.axes(left=min(90, box.width / 4), top=2, right=56, bottom=18)
    moments = sorted({moment for _, _, of in rows for moment in of.times})
    place = {moment: n for n, moment in enumerate(moments)}
    cells = np.full((len(rows), len(moments)), np.nan)
    for row, (each, _, of) in enumerate(rows):
        for moment, value in zip(of.times, each.values, strict=True):
            cells[row, place[moment]] = np.nan if value is None else value
    edges = _days(moments)
    step = edges[1] - edges[0] if len(edges) > 1 else 0.01
    drawn = ax.pcolormesh(np.append(edges, edges[-1] + step), np.arange(len(rows) + 1) - 0.5, cells, cmap="YlOrRd")
    ax.set_yticks(range(len(rows)), [textwrap.shorten(its.name, 14, placeholder="…") for _, its, _ in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.xaxis_date()
    _dates(ax)
    side = Box(box.figure, box.left + box.width - 50, box.top, 8, box.height - 18).axes(top=2)
    bar = box.figure.colorbar(drawn, cax=side)
    bar.outline.set_visible(False)
    unit = ((panel.get("options") or {}).get("cellValues") or {}).get("unit") or rows[0][1].unit
    side.yaxis.set_major_formatter(FuncFormatter(axis(unit)))
    side.tick_params(labelsize=SMALL - 1, colors=FAINT, length=0)
    return None


def barchart(panel: Panel, frames: Sequence[Frame], box: Box) -> None:
    """Bars of categories, stacked or side by side."""
    of = frames[0] if frames else Frame("A", [])
    names, numbers = of.of(TEXT, TIME), shown(panel, frames[:1], NUMBER)
    if not names or not numbers or not len(of):
        return nothing(box)
    options = panel.get("options") or {}
    flat = options.get("orientation") == "horizontal"
    labels = [textwrap.shorten(str(name), 18, placeholder="…") for name in names[0].values[:_MOST_ROWS]]
    ax = box.axes(left=min(130, box.width / 3) if flat else 52, top=2, right=8, bottom=34 if flat else 46)
    places, base = np.arange(len(labels)), np.zeros(len(labels))
    stacked = options.get("stacking", "none") != "none"
    thick = 0.8 if stacked else 0.8 / len(numbers)
    for number, (each, its, _) in enumerate(numbers):
        values = np.array([value or 0.0 for value in each.values[:_MOST_ROWS]])
        at = places if stacked else places - 0.4 + thick * (number + 0.5)
        tint = its.colour(None, number)
        if flat:
            ax.barh(at, values, thick, left=base, color=tint)
        else:
            ax.bar(at, values, thick, bottom=base, color=tint)
        base = base + values if stacked else base
    _categories(ax, labels, flat, numbers[0][1])
    _legend(ax, [its.name for _, its, _ in numbers], [its.colour(None, n) for n, (_, its, _) in enumerate(numbers)])
    return None


def _categories(ax: Axes, labels: Sequence[str], flat: bool, its: Look) -> None:
    along, across = (ax.yaxis, ax.xaxis) if flat else (ax.xaxis, ax.yaxis)
    along.set_ticks(range(len(labels)), labels)
    across.set_major_formatter(FuncFormatter(axis(its.unit)))
    across.set_major_locator(MaxNLocator(5))
    ax.grid(axis="x" if flat else "y", color="#ECEEF0", linewidth=0.7)
    ax.set_axisbelow(True)
    if flat:
        ax.invert_yaxis()


def piechart(panel: Panel, frames: Sequence[Frame], box: Box) -> None:
    """Shares of a whole."""
    found = [(name, float(value), its) for name, value, its in reduced(panel, frames) if value]
    if not found:
        return nothing(box)
    ax = box.axes(right=box.width * 0.45)
    tints = [its.colour(None, n) for n, (_, _, its) in enumerate(found)]
    ax.pie(
        [value for _, value, _ in found], colors=tints, startangle=90, counterclock=False, wedgeprops={"width": 0.45}
    )
    marks = [Rectangle((0, 0), 1, 1, color=tint) for tint in tints]
    texts = [f"{textwrap.shorten(name, 22, placeholder='…')}  {its.text(value)}" for name, value, its in found]
    ax.legend(marks, texts, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=SMALL, frameon=False, handlelength=0.8)
    return None


def words(panel: Panel, _frames: Sequence[Frame], box: Box) -> None:
    """A text, without what marks it up."""
    ax, wide = box.blank(), max(int(box.width / 5.2), 10)
    told = str((panel.get("options") or {}).get("content", "")).replace("**", "").replace("`", "")
    lines = [part for line in told.splitlines() for part in textwrap.wrap(line.lstrip("# "), wide) or [""]]
    ax.text(4, 4, "\n".join(lines[: int(box.height // 12)]), va="top", fontsize=SMALL, color=INK)


def nothing(box: Box) -> None:
    """What a panel without data says."""
    box.blank().text(box.width / 2, box.height / 2, "No data", ha="center", va="center", fontsize=9, color=FAINT)


KINDS: Mapping[str, Callable[[Panel, Sequence[Frame], Box], None]] = {
    "timeseries": timeseries,
    "trend": timeseries,
    "stat": stat,
    "gauge": bargauge,
    "bargauge": bargauge,
    "table": table,
    "state-timeline": state_timeline,
    "status-history": state_timeline,
    "heatmap": heatmap,
    "barchart": barchart,
    "piechart": piechart,
    "text": words,
}
