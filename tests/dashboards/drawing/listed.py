"""Panels of rows: tables, bars of categories, words."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tests.dashboards.drawing.box import FAINT, INK, MOST_ROWS, SMALL, Box, Panel, legend, nothing, shown
from tests.dashboards.drawing.frames import FLAG, NUMBER, TEXT, TIME, Frame
from tests.dashboards.drawing.look import Look
from tests.dashboards.drawing.units import axis


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
        fits = max(int(((end - begin) * scale - 6) / 4.9), 3)
        ax.text(begin * scale + 4, high / 2, _cut(its.name, fits), va="center",
                fontsize=SMALL, color="#3871DC", fontweight="bold")  # fmt: skip
        for row, text in enumerate(texts):
            _cell(
                ax,
                its,
                each.values[row],
                _cut(text, fits),
                (begin * scale, (row + 1) * high, (end - begin) * scale, high),
            )
    left_out = len(of) - len(cells[0])
    if left_out > 0:
        ax.text(box.width - 4, box.height - 4, f"{left_out:,} more rows", ha="right", fontsize=SMALL, color=FAINT)
    return None


def _cut(text: str, fits: int) -> str:
    return text if len(text) <= fits else f"{text[: fits - 1]}…"


def _cell(ax: Axes, its: Look, value: Any, text: str, place: tuple[float, float, float, float]) -> None:
    left, top, width, high = place
    kind = (its.custom.get("cellOptions") or {}).get("type", "auto")
    tint = its.colour(value) if kind.startswith("color") and value is not None else "none"
    if kind == "color-background" and tint != "none":
        ax.add_patch(Rectangle((left + 1, top + 1), width - 2, high - 2, color=tint, alpha=0.75))
    ink = tint if kind == "color-text" and tint != "none" else INK
    ax.text(left + 4, top + high / 2, text, va="center", fontsize=SMALL, color=ink)


def barchart(panel: Panel, frames: Sequence[Frame], box: Box) -> None:
    """Bars of categories, stacked or side by side."""
    of = frames[0] if frames else Frame("A", [])
    names, numbers = of.of(TEXT, TIME), shown(panel, frames[:1], NUMBER)
    if not names or not numbers or not len(of):
        return nothing(box)
    options = panel.get("options") or {}
    flat = options.get("orientation") == "horizontal"
    labels = [textwrap.shorten(str(name), 18, placeholder="…") for name in names[0].values[:MOST_ROWS]]
    ax = box.axes(left=min(130, box.width / 3) if flat else 52, top=2, right=8, bottom=34 if flat else 46)
    places, base = np.arange(len(labels)), np.zeros(len(labels))
    stacked = options.get("stacking", "none") != "none"
    thick = 0.8 if stacked else 0.8 / len(numbers)
    for number, (each, its, _) in enumerate(numbers):
        values = np.array([value or 0.0 for value in each.values[:MOST_ROWS]])
        at = places if stacked else places - 0.4 + thick * (number + 0.5)
        tint = its.colour(None, number)
        if flat:
            ax.barh(at, values, thick, left=base, color=tint)
        else:
            ax.bar(at, values, thick, bottom=base, color=tint)
        base = base + values if stacked else base
    _categories(ax, labels, flat, numbers[0][1])
    tints = [its.colour(None, n) for n, (_, its, _) in enumerate(numbers)]
    legend(ax, [its.name for _, its, _ in numbers], tints, box)
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


def words(panel: Panel, _frames: Sequence[Frame], box: Box) -> None:
    """A text, without what marks it up."""
    ax, wide = box.blank(), max(int(box.width / 5.2), 10)
    told = str((panel.get("options") or {}).get("content", "")).replace("**", "").replace("`", "")
    lines = [part for line in told.splitlines() for part in textwrap.wrap(line.lstrip("# "), wide) or [""]]
    ax.text(4, 4, "\n".join(lines[: int(box.height // 12)]), va="top", fontsize=SMALL, color=INK)
