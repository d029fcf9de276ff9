"""Where the boards' JSON is checked in: beside the package's source."""

from collections.abc import Iterator
from pathlib import Path

from gpufleet_dashboards.discovery import every_board
from gpufleet_dashboards.render import document


def folder() -> Path:
    """The folder of the working tree; installed from a wheel, there is none."""
    return Path(__file__).parents[1] / "rendered"


def documents() -> Iterator[tuple[str, str]]:
    """Each board's file name and text."""
    for board in every_board().values():
        yield f"{board.uid}.json", document(board)
