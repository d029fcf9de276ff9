"""Panels fill lines of the grid."""

import pytest
from gpufleet_dashboards.board import Row
from gpufleet_dashboards.kinds import Lines
from gpufleet_dashboards.layout import LayoutError, place
from hypothesis import given
from hypothesis import strategies as st

from tests.dashboards.small import SERIES, board, panel


def row(*sizes: tuple[int, int], collapsed: bool = False) -> Row:
    """A row of panels so wide and high."""
    return Row("A row", tuple(panel(Lines(), SERIES, w, h) for w, h in sizes), collapsed)


def places(*rows: Row) -> list[tuple[int, int]]:
    """Where headings and panels are."""
    return [(each.x, each.y) for each in place(board(*rows))]


def test_lines_follow_each_other() -> None:
    """A line begins below the one before, a row below the last line of the one before."""
    assert places(row((12, 8), (12, 8), (24, 4)), row((24, 3))) == [(0, 0), (0, 1), (12, 1), (0, 9), (0, 13), (0, 14)]


def test_a_collapsed_row_takes_its_heading_only() -> None:
    """Its panels are where they will be when it is opened."""
    assert places(row((24, 8), collapsed=True), row((24, 3))) == [(0, 0), (0, 1), (0, 1), (0, 2)]


@pytest.mark.parametrize("sizes", [[(12, 8)], [(12, 8), (13, 8)], [(12, 8), (12, 7)], [(24, 8), (8, 8), (8, 8)]])
def test_a_line_that_is_not_filled(sizes: list[tuple[int, int]]) -> None:
    """Too narrow, too wide, or of different heights: Grafana would move panels about."""
    with pytest.raises(LayoutError, match="small, row 'A row'"):
        places(row(*sizes))


@given(st.lists(st.tuples(st.sampled_from([1, 2, 3, 4, 6]), st.integers(1, 20)), min_size=1, max_size=6))
def test_no_two_panels_share_a_cell(lines: list[tuple[int, int]]) -> None:
    """And none is outside the grid, whatever lines there are."""
    sizes = [(24 // count, h) for count, h in lines for _ in range(count)]
    found = [each for each in place(board(row(*sizes))) if each.panel is not None]
    cells = [
        (x, y)
        for each in found
        if each.panel is not None
        for x in range(each.x, each.x + each.panel.w)
        for y in range(each.y, each.y + each.panel.h)
    ]
    assert len(cells) == len(set(cells))
    assert max(x for x, _ in cells) < 24
