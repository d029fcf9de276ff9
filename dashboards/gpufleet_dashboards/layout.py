"""Where panels are: lines of exactly 24 columns, one below the other."""

from collections.abc import Iterator
from dataclasses import dataclass

from gpufleet_dashboards.board import Board, Row
from gpufleet_dashboards.panel import GRID, Panel


class LayoutError(ValueError):
    """Panels do not fill the grid."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A row's heading (`panel` None), or a panel, and its upper left corner."""

    row: Row
    panel: Panel | None
    x: int
    y: int


def place(board: Board) -> Iterator[Placed]:
    """Each row's heading and each panel, from the top. LayoutError where a line is not filled."""
    y = 0
    for row in board.rows:
        yield Placed(row, None, 0, y)
        y += 1
        below = y
        for line in _lines(board, row):
            x = 0
            for panel in line:
                yield Placed(row, panel, x, below)
                x += panel.w
            below += line[0].h
        # Of a collapsed row the heading alone is there.
        y = y if row.collapsed else below


def _lines(board: Board, row: Row) -> Iterator[list[Panel]]:
    line: list[Panel] = []
    for panel in row.panels:
        line.append(panel)
        width = sum(each.w for each in line)
        if width > GRID or panel.h != line[0].h:
            raise LayoutError(f"{board.name}, row {row.title!r}: {panel.title!r} does not fit into its line")
        if width == GRID:
            yield line
            line = []
    if line:
        raise LayoutError(f"{board.name}, row {row.title!r}: the last line is not filled")
