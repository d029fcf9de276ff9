"""Finds the boards by looking through their package."""

import functools
import importlib
import pkgutil
from collections.abc import Mapping
from types import MappingProxyType

from gpufleet_dashboards import boards
from gpufleet_dashboards.board import Board


@functools.cache
def every_board() -> Mapping[str, Board]:
    """All boards by name, in the order of their names."""
    found = [_board(each.name) for each in pkgutil.iter_modules(boards.__path__)]
    return MappingProxyType({board.name: board for board in sorted(found, key=lambda board: board.name)})


def _board(name: str) -> Board:
    found = getattr(importlib.import_module(f"{boards.__name__}.{name}"), "BOARD", None)
    if not isinstance(found, Board) or found.name != name:
        raise TypeError(f"{boards.__name__}.{name} must have a Board of that name, named BOARD")
    return found
