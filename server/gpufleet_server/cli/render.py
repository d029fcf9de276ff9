"""Tables for a terminal of any width, and plain text where there is none."""

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

# Wide enough that nothing is cut where the reader is a program.
_UNBOUNDED = 10_000
_GAP = 2
_STATES = {
    "reporting": "green",
    "lost": "bold red",
    "driver_failed": "red",
    "not_reporting": "yellow",
    "removed": "dim",
}

Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Column:
    """A column. Those of the highest `rank` are dropped first where the terminal is narrow; rank 0 always stays."""

    header: str
    cell: Callable[[Item], str | Text]
    rank: int = 0
    align: Literal["left", "right"] = "left"


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


def show_json(what: Any) -> None:
    """Print it as JSON."""
    sys.stdout.write(json.dumps(what, indent=2, ensure_ascii=False) + "\n")


def table(items: Iterable[Item], columns: Sequence[Column], width: int) -> Table:
    """A table of as many columns as fit, by rank; what is still too wide is cut with an ellipsis."""
    rows = [[_text(column.cell(item)) for column in columns] for item in items]
    widths = [max([len(column.header), *(row[place].cell_len for row in rows)]) for place, column in enumerate(columns)]
    shown = _fitting(columns, widths, width)
    grid = Table(box=None, show_edge=False, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for place in shown:
        # Only text may be cut: a number that lost a digit is another number.
        column = columns[place]
        least = widths[place] if column.align == "right" else min(widths[place], 8)
        grid.add_column(column.header, justify=column.align, no_wrap=True, overflow="ellipsis", min_width=least)
    for row in rows:
        grid.add_row(*(row[place] for place in shown))
    return grid


def facts(pairs: Iterable[tuple[str, str | Text]]) -> Table:
    """Names and values, one pair a line; long values are folded."""
    grid = Table(box=None, show_header=False, show_edge=False, pad_edge=False, padding=(0, _GAP, 0, 0))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in pairs:
        grid.add_row(name, value)
    return grid


def state(word: str | None) -> Text:
    """A state in its colour."""
    return Text((word or "–").replace("_", " "), style=_STATES.get(word or "", ""))


def mark(item: Item) -> Text:
    """`simulated` where the item is."""
    return Text("simulated", style="magenta") if item.get("simulated") else Text("")


def marks(items: Iterable[Item]) -> list[Column]:
    """The column that marks simulated things, if any of these is; it is never dropped."""
    return [Column("", mark)] if any(item.get("simulated") for item in items) else []


def _text(cell: str | Text) -> Text:
    return cell if isinstance(cell, Text) else Text(cell)


def _fitting(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    shown = list(range(len(columns)))
    while sum(widths[place] + _GAP for place in shown) - _GAP > width:
        place = max(shown, key=lambda place: (columns[place].rank, place))
        if columns[place].rank == 0:
            break
        shown.remove(place)
    return shown
