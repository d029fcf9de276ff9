"""What people do in Grafana's own pages."""

import copy
from collections.abc import Callable
from typing import Any

from tests.dashboards.grafana_stand_in.state import Json, State


class People:
    """Somebody with a browser."""

    def __init__(self, state: State) -> None:
        self._state = state

    def edit_board(self, uid: str, who: str = "ann", message: str = "", **changes: Any) -> None:
        """Save a board with some of its keys changed."""
        board = self._state.boards[uid]
        self._state.add_version(board, {**copy.deepcopy(board.newest), **changes}, who, message)

    def move_board(self, uid: str, folder: str) -> None:
        """Put a board into another folder."""
        self._state.boards[uid].folder = folder

    def edit_datasource(self, uid: str, **changes: Any) -> None:
        """Change a data source's settings."""
        found = self._state.datasources[uid]
        found |= changes
        found["version"] += 1

    def edit_rule(self, uid: str, change: Callable[[Json], object]) -> None:
        """Change an alert rule."""
        change(self._state.rules[uid])
