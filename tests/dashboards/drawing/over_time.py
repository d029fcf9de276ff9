"""Panels over time: lines and areas, states, heat."""

import textwrap
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter, date2num
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tests.dashboards.drawing import colours
from tests.dashboards.drawing.box import FAINT, MOST_ROWS, SMALL, Box, Panel, legend, nothing, shown
from tests.dashboards.drawing.frames import FLAG, NUMBER, TEXT, Frame
from tests.dashboards.drawing.look import Look
from tests.dashboards.drawing.units import axis


def timeseries(panel: Panel, frames: Sequence[Frame], box: Box) -> None:
    """Lines, areas or bars over time, stacked where the panel stacks them."""
    series = [each for each in shown(panel, frames, NUMBER, FLAG) if each[2].times]
    if not series:
        return nothing(box)
    ax = box.axes(left=60, top=4, right=8, bottom=34)
    below: dict[Any, np.ndarray[Any, Any]] = {}
    for place, (each, its, of) in enumerate(series):
        moments = _days(of.times)
        values = np.array([np.nan if value is None else float(value) for value in each.values])
        tint = its.colour(None, place)
        tint = colours.CLASSIC[place % len(colours.CLASSIC)] if tint == colours.ABSENT else tint
        stacked = (its.custom.get("stacking") or {}).get("mode", "none") != "none"
        base = below.get(moments.tobytes(), np.zeros(len(values))) if stacked else np.zeros(len(values))
        top = base + values if stacked else values
        if stacked:
            below[moments.tobytes()] = base + np.nan_to_num(values)
        _drawn(ax, its, moments, base, top, tint, stacked)
    _over_time(ax, series[0][1], box)
    tints = [line_colour(its, n) for n, (_, its, _) in enumerate(series)]
    legend(ax, [its.name for _, its, _ in series], tints, box)
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
    known = np.isfinite(np.concatenate([[np.nan], top, [np.nan]]))
    alone = known[1:-1] & ~known[:-2] & ~known[2:]
    marker = "." if alone.any() or its.custom.get("drawStyle") == "points" else None
    style = "none" if its.custom.get("drawStyle") == "points" else "-"
    ax.plot(moments, top, style, color=tint, linewidth=1, marker=marker, markersize=3,
            drawstyle="steps-post" if step else "default")  # fmt: skip


def _over_time(ax: Axes, its: Look, box: Box) -> None:
    if "min" in its.config:
        ax.set_ylim(bottom=its.config["min"])
    if "max" in its.config:
        ax.set_ylim(top=its.config["max"])
    ax.grid(axis="y", color="#ECEEF0", linewidth=0.7)
    ax.set_axisbelow(True)
    ax.yaxis.set_major_locator(MaxNLocator(5))
    ax.yaxis.set_major_formatter(FuncFormatter(axis(its.unit)))
    _dates(ax, box)


def _days(times: Sequence[Any]) -> Any:
    """Times as matplotlib counts them."""
    return date2num(times)  # type: ignore[no-untyped-call]


def _dates(ax: Axes, box: Box) -> None:
    ax.margins(x=0)
    if box.span is not None:
        begin, end = _days(box.span)
        ax.set_xlim(begin, end)
    locator = AutoDateLocator(maxticks=8)  # type: ignore[no-untyped-call]
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
    ax.xaxis.get_offset_text().set_visible(False)


def state_timeline(panel: Panel, frames: Sequence[Frame], box: Box) -> None:
    """A row a series, in the colour of its value from each time to the next."""
    rows = [each for each in shown(panel, frames, NUMBER, FLAG, TEXT) if each[2].times][:MOST_ROWS]
    if not rows:
        return nothing(box)
    ax = box.axes(left=min(120, box.width / 3), top=2, right=8, bottom=34)
    named: dict[str, str] = {}
    end = box.span[1] if box.span else max(of.times[-1] for _, _, of in rows)
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
    _dates(ax, box)
    legend(ax, list(named), list(named.values()), box)
    return None


def heatmap(panel: Panel, frames: Sequence[Frame], box: Box) -> None:
    """A row a series, the darker the higher its value; a cell ends at its time."""
    rows = [each for each in shown(panel, frames, NUMBER) if each[2].times]
    if not rows:
        return nothing(box)
    moments = sorted({moment for _, _, of in rows for moment in of.times})
    place = {moment: n for n, moment in enumerate(moments)}
    if all(value is None for each, _, _ in rows for value in each.values):
        return nothing(box)
    ax = box.axes(left=min(90, box.width / 4), top=2, right=56, bottom=18)
    cells = np.full((len(rows), len(moments)), np.nan)
    for row, (each, _, of) in enumerate(rows):
        for moment, value in zip(of.times, each.values, strict=True):
            cells[row, place[moment]] = np.nan if value is None else value
    edges = _days(moments)
    step = edges[1] - edges[0] if len(edges) > 1 else 0.01
    scale = (panel.get("options") or {}).get("color") or {}
    drawn = ax.pcolormesh(np.append(edges[0] - step, edges), np.arange(len(rows) + 1) - 0.5, cells, cmap="YlOrRd",
                          vmin=scale.get("min"), vmax=scale.get("max"))  # fmt: skip
    ax.set_yticks(range(len(rows)), [textwrap.shorten(its.name, 14, placeholder="…") for _, its, _ in rows])
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.xaxis_date()
    _dates(ax, box)
    side = Box(box.figure, box.left + box.width - 50, box.top, 8, box.height - 18).axes(top=2)
    bar = box.figure.colorbar(drawn, cax=side)
    bar.outline.set_visible(False)
    unit = ((panel.get("options") or {}).get("cellValues") or {}).get("unit") or rows[0][1].unit
    side.yaxis.set_major_formatter(FuncFormatter(axis(unit)))
    side.tick_params(labelsize=SMALL - 1, colors=FAINT, length=0)
    return None
