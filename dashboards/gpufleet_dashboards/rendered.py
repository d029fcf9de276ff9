"""Where the boards' JSON is checked in, beside the package's source; and whether it is what is built."""

from collections.abc import Iterator, Mapping
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


def stale(there: Path, built: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Which files of a folder are not what is built, and why."""
    for name, text in built.items():
        if not (there / name).is_file():
            yield name, "is not there: gpufleet dashboards build"
        elif (there / name).read_text(encoding="utf-8") != text:
            yield name, "is not what its board says now: gpufleet dashboards build"
    for file in sorted(there.glob("*.json")):
        if file.name not in built:
            yield file.name, "is of no board: remove it"
