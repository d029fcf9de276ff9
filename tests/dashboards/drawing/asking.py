"""Asks a store all that a board asks, and gives each panel its frames."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from tests.bench.board_queries import BoardQueries, sent
from tests.dashboards.drawing.frames import Frame, of_query
from tests.dashboards.grafana_sql.formats import Value
from tests.dashboards.grafana_sql.frames import framed
from tests.dashboards.grafana_sql.front import ALL, Range, Variable

_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000}


def range_of(board: Mapping[str, Any], now_ms: int) -> Range:
    """The range that a board opens with; ValueError where it is not from some time ago until now."""
    found = re.fullmatch(r"now-(\d+)([mhd])", board["time"]["from"])
    if found is None or board["time"]["to"] != "now":
        raise ValueError(f"a range from {board['time']['from']} to {board['time']['to']}")
    return Range(now_ms - int(found[1]) * _UNITS_MS[found[2]], now_ms)


def answers(
    connection: psycopg.Connection[Any], board: BoardQueries, range_: Range, values: Sequence[Variable]
) -> dict[int, list[Frame]]:
    """The frames of each panel, by its id."""
    found: dict[int, list[Frame]] = {}
    for each in board.statements:
        if each.panel is None:
            continue
        asked = sent(each, range_, values)
        with connection.cursor() as cursor:
            cursor.execute(asked.sql.encode(), prepare=False)
            columns = [(column.name, column.type_code) for column in cursor.description or ()]
            frame = framed(columns, cursor.fetchall(), each.form, range_, asked.fill)
        found.setdefault(each.panel, []).append(of_query(each.ref, frame))
    return found


def told(range_: Range, values: Sequence[Variable], names: Mapping[str, str]) -> str:
    """What was chosen, in a line; `names` are the words for values that people would not know."""
    parts = [f"{each.name}: {_shown(each.value, names)}" for each in values]
    return "   ".join([f"{(range_.end - range_.begin) / 3_600_000:g} h", *parts])


def _shown(value: Value, names: Mapping[str, str]) -> str:
    if isinstance(value, tuple):
        return "All" if value[:1] == (ALL,) else ", ".join(value)
    return names.get(str(value), str(value))
