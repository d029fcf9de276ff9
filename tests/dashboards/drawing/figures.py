"""Panels of single figures: large ones, bars, slices."""

import math
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.patches import Rectangle

from tests.dashboards.drawing import colours
from tests.dashboards.drawing.box import FAINT, INK, MOST_ROWS, SMALL, Box, Panel, nothing, shown
from tests.dashboards.drawing.frames import FLAG, NUMBER, TEXT, TIME, Frame
from tests.dashboards.drawing.look import Look


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
        size = min(22.0, high * 0.36, 1.05 * box.width / across / max(len(its.text(value)), 4))
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
    found = list(reduced(panel, frames))[:MOST_ROWS]
    if not found:
        return nothing(box)
    ax = box.axes(left=min(130, box.width / 3), right=90, top=2, bottom=4)
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
