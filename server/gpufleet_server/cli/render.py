"""Tables for a terminal of any width, and plain text where there is none."""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console, Group, RenderableType
from rich.text import Text

# Wide enough that nothing is cut where the reader is a program.
_UNBOUNDED = 10_000
_GAP = "  "
# A column of text may be cut to so many characters. A number never is: without a digit it is another number.
_LEAST = 8
_STATES = {
    "reporting": "green",
    "in_maintenance": "cyan",
    "lost": "bold red",
    "driver_failed": "red",
    "not_reporting": "yellow",
    "removed": "dim",
}
Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column. Those of the highest `rank` are dropped first where the terminal is narrow; rank 0 always stays.

    Where it does not fit `instead` may. One with a `least` number of characters is cut before it is dropped.
    """

    header: str
    cell: Callable[[Item], str | Text]
    rank: int = 0
    align: Literal["left", "right"] = "left"
    least: int | None = None
    instead: "Column | None" = None


def console(*, stderr: bool = False) -> Console:
    """Colours on a terminal only; as wide as it takes where the output goes elsewhere."""
    stream = sys.stderr if stderr else sys.stdout
    if stream.isatty():
        return Console(stderr=stderr, highlight=False)
    return Console(stderr=stderr, highlight=False, width=_UNBOUNDED, no_color=True, force_terminal=False)


def show(what: RenderableType, to: Console | None = None) -> None:
    """Print it. Piped output has no blanks at the ends of its lines."""
    to = to or console()
    if to.is_terminal:
        to.print(what)
        return
    with to.capture() as captured:
        to.print(what)
    to.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    to.file.flush()


def table(items: Iterable[Item], columns: Sequence[Column], width: int) -> Group:
    """A table of as many columns as fit, by rank; text that is still too wide is cut with an ellipsis."""
    rows = list(items)
    shown = _fitting(columns, rows, width)
    titles = [Text(one.column.header, style="bold") for one in shown]
    lines = [_line(cells, shown) for cells in (titles, *zip(*(one.cells for one in shown), strict=True))]
    for line in lines:
        line.truncate(width)
        line.rstrip()
    return Group(*lines)


def facts(pairs: Iterable[tuple[str, str | Text]]) -> RenderableType:
    """Names and values, one pair a line; long values are folded."""
    from rich.table import Table

    grid = Table(box=None, show_header=False, show_edge=False, pad_edge=False, padding=(0, len(_GAP), 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(_text(name), _text(value))
    return grid


def state(word: str | None) -> Text:
    """A state in its colour."""
    return Text((word or "–").replace("_", " "), style=_STATES.get(word or "", ""))


def mark(item: Item) -> Text:
    """`simulated` where the item is; `partly simulated` where a share of it is, above 0 and below 1."""
    share = float(item.get("simulated") or 0)
    return Text("partly simulated" if 0 < share < 1 else "simulated" if share else "", style="magenta")


def marks(items: Iterable[Item]) -> list[Column]:
    """The column that marks simulated things, if any of these is; it is never dropped."""
    return [Column("", mark)] if any(item.get("simulated") for item in items) else []


def _text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


@dataclass(slots=True)
class _Shown:
    """A column with its cells, and how wide it is."""

    column: Column
    cells: list[Text]
    width: int


def _line(cells: Sequence[Text], shown: Sequence[_Shown]) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    for number, (cell, one) in enumerate(zip(cells, shown, strict=True)):
        cell.truncate(one.width, overflow="ellipsis")
        cell.align(one.column.align, one.width)
        line.append(_GAP if number else "").append_text(cell)
    return line


def _fitting(columns: Sequence[Column], rows: Sequence[Item], width: int) -> list[_Shown]:
    shown = [_filled(column, rows) for column in columns]
    while over := _over(shown, width):
        place = max(range(len(shown)), key=lambda place: (shown[place].column.rank, place))
        last = shown[place]
        if last.column.rank == 0 or (last.column.least and last.width - over >= last.column.least):
            break
        instead = last.column.instead
        shown[place : place + 1] = [_filled(instead, rows)] if instead else []
    _cut([one for one in shown if one.column.least], shown, width)
    _cut([one for one in shown if one.column.align == "left"], shown, width)
    return shown


def _filled(column: Column, rows: Sequence[Item]) -> _Shown:
    cells = [_text(column.cell(row)) for row in rows]
    return _Shown(column, cells, max([len(column.header), *(cell.cell_len for cell in cells)]))


def _over(shown: Sequence[_Shown], width: int) -> int:
    """By how much these columns are too wide."""
    return max(sum(one.width for one in shown) + len(_GAP) * (len(shown) - 1) - width, 0)


def _cut(these: list[_Shown], shown: Sequence[_Shown], width: int) -> None:
    for one in sorted(these, key=lambda one: -one.width):
        one.width = max(one.width - _over(shown, width), min(one.width, one.column.least or _LEAST))
