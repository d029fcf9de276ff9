"""Draws a whole board: its panels in their places of the grid, each with what its queries answered."""

import datetime
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from PIL import Image

from tests.dashboards.drawing.box import FAINT, INK, Box
from tests.dashboards.drawing.frames import Frame
from tests.dashboards.drawing.look import transformed
from tests.dashboards.drawing.panels import KINDS

# A cell of Grafana's grid, px, and the room between panels; the head has the board's title and what was chosen.
_WIDE, _HIGH, _GAP, _HEAD, _DPI = 48.0, 32.0, 6.0, 34.0, 100
_TITLE, _COLOURS = 22.0, 96

Span = tuple[datetime.datetime, datetime.datetime]
Answers = Mapping[int, Sequence[Frame]]


def drawn(board: Mapping[str, Any], answers: Answers, told: str, span: Span | None = None) -> bytes:
    """A PNG of a board in its JSON; `answers` has the frames of each panel by its id, `told` what was asked.

    `span` is from when to when it shows.
    """
    panels = list(laid_out(board["panels"]))
    rows = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in panels)
    figure = Figure(figsize=(24 * _WIDE / _DPI, (rows * _HIGH + _HEAD) / _DPI), dpi=_DPI, facecolor="#F4F5F5")
    FigureCanvasAgg(figure)
    high = rows * _HIGH + _HEAD
    figure.text(0.008, 1 - 22 / high, board["title"], fontsize=13, color=INK, fontweight="bold")
    figure.text(0.992, 1 - 20 / high, told, fontsize=7.5, color=FAINT, ha="right")
    for panel in panels:
        _panel(figure, panel, answers.get(panel["id"], ()), span)
    return _png(figure)


def laid_out(panels: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """All panels, those of rows that are closed too: below their row, as if it were open."""
    moved = 0
    for panel in panels:
        yield _lower(panel, moved)
        inside = panel.get("panels") or []
        yield from (_lower(each, moved) for each in inside)
        if inside:
            places = [each["gridPos"] for each in inside]
            moved += max(place["y"] + place["h"] for place in places) - panel["gridPos"]["y"] - 1


def _lower(panel: Mapping[str, Any], by: int) -> Mapping[str, Any]:
    place = panel["gridPos"]
    return {**panel, "gridPos": {**place, "y": place["y"] + by}}


def _panel(figure: Figure, panel: Mapping[str, Any], frames: Sequence[Frame], span: Span | None) -> None:
    place = panel["gridPos"]
    left, top = place["x"] * _WIDE + _GAP / 2, place["y"] * _HIGH + _HEAD
    width, height = place["w"] * _WIDE - _GAP, place["h"] * _HIGH - _GAP
    box = Box(figure, left, top, width, height)
    if panel["type"] == "row":
        box.blank().text(4, height / 2, panel.get("title", ""), va="center", fontsize=10, color=INK)
        return
    paper = box.blank()
    edge = FancyBboxPatch(
        (1, 1), width - 2, height - 2, boxstyle="round,pad=0,rounding_size=3", fc="white", ec="#DDE0E4"
    )
    paper.add_patch(edge)
    fits = max(int(width / 6.2), 6)
    title = panel.get("title", "")
    paper.text(8, 12, title if len(title) <= fits else f"{title[: fits - 1]}…", va="center", fontsize=8.5, color=INK)
    inner = Box(figure, left + 6, top + _TITLE, width - 12, height - _TITLE - 5, span)
    KINDS[panel["type"]](panel, transformed(panel, frames), inner)


def _png(figure: Figure) -> bytes:
    """Few colours: a picture of a board is lines and words, and is to be small."""
    rendered = io.BytesIO()
    figure.savefig(rendered, format="png", dpi=_DPI, metadata={"Software": None})
    packed = io.BytesIO()
    with Image.open(rendered) as image:
        image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(packed, "PNG", optimize=True)
    return packed.getvalue()


def write(path: Path, picture: bytes) -> None:
    """Put a picture into its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture)
