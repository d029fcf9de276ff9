"""The board that the page about adding one shows is a board."""

import json
import re
from pathlib import Path
from typing import Any

from gpufleet_dashboards.board import Board
from gpufleet_dashboards.check import faults
from gpufleet_dashboards.discovery import every_board
from gpufleet_dashboards.render import document

PAGE = Path(__file__).parents[2] / "docs" / "adding-a-board.md"


def shown() -> Board:
    """What the page's code makes."""
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert code is not None
    made: dict[str, Any] = {}
    exec(compile(code[1], str(PAGE), "exec"), made)
    found = made["BOARD"]
    assert isinstance(found, Board)
    return found


def test_the_board_of_the_page_is_one() -> None:
    """Beside the others nothing is wrong with it."""
    boards = {board.name: json.loads(document(board)) for board in (*every_board().values(), shown())}
    assert [fault for fault in faults(boards) if fault.file == "heat"] == []
