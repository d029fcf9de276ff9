"""Boards as Grafana asks them: the queries of the JSON, each with what the board says that it returns."""

import functools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from gpufleet_dashboards.discovery import every_board
from gpufleet_dashboards.query import Column, Type
from gpufleet_dashboards.render import document

from tests.bench.board_queries import BoardQueries, Menu, Statement, of_board, sent
from tests.dashboards.fleet.world import World
from tests.dashboards.grafana_sql.frames import Frame, framed
from tests.dashboards.grafana_sql.front import ALL, Range, Variable

HOUR_MS = 3_600_000
RANGES = {"1h": HOUR_MS, "24h": 24 * HOUR_MS, "30d": 720 * HOUR_MS}
# What PostgreSQL's types are to a panel.
OIDS = {
    Type.TIME: {1114, 1184},
    Type.NUMBER: {20, 21, 23, 700, 701, 1700},
    Type.TEXT: {25, 1043},
    Type.FLAG: {16},
}  # fmt: skip


@dataclass(frozen=True)
class Asked:
    """One query of a board, asked: `what` asks (a panel, a variable, an annotation), when (µs), and what came back."""

    board: str
    what: str
    returns: dict[str, Column]
    statement: Statement
    columns: list[tuple[str, int]]
    rows: list[tuple[Any, ...]]
    frame: Frame
    at: int

    @property
    def name(self) -> str:
        """Of the panel, variable or annotation alone."""
        return self.what.split(" ", 1)[1]


@functools.cache
def queries(board: str) -> BoardQueries:
    """What Grafana asks of a board: of the very JSON that is given to it."""
    return of_board(json.loads(document(every_board()[board])))


def range_of(world: World, name: str) -> Range:
    """A range up to the world's end."""
    end = world.end // 1000
    return Range(end - RANGES[name], end)


class Viewer:
    """Somebody who looks at a board: the connection of the data source, the range, and what is chosen."""

    def __init__(self, connection: psycopg.Connection[Any], board: str, range_: Range) -> None:
        self.connection, self.board, self.range = connection, board, range_
        self.chosen: list[Variable] = []
        self._declared = dict(every_board()[board].queries)

    def choose(self, count: int | None, turn: int = 0, **given: str) -> list[Asked]:
        """Choose `count` options of each variable of several, All where it is None, and else one, the `turn`th.

        `given` are values of variables by name. What the menus were is given back.
        """
        self.chosen, asked = [], []
        for menu in queries(self.board).menus:
            asked.append(self._ask(f"variable {menu.name}", menu.query))
            options = _offered(asked[-1].rows)
            self.chosen.append(_picked(menu, options, count, turn, given.get(menu.name)))
        return asked

    def ask(self) -> Iterator[Asked]:
        """All panels and annotations, with what is chosen."""
        titles = {panel.title for panel in every_board()[self.board].panels}
        for each in queries(self.board).statements:
            title = each.owner.rsplit(" (", 1)[0]
            yield self._ask(f"panel {title}" if title in titles else each.owner, each)

    def panel(self, title: str) -> Asked:
        """One panel."""
        (found,) = (each for each in queries(self.board).statements if each.owner.rsplit(" (", 1)[0] == title)
        return self._ask(f"panel {title}", found)

    def _ask(self, what: str, statement: Statement) -> Asked:
        asked = sent(statement, self.range, self.chosen)
        at = time.time_ns() // 1000
        cursor = self.connection.execute(asked.sql.encode())
        columns = [(column.name, column.type_code) for column in cursor.description or ()]
        rows = cursor.fetchall()
        frame = framed(columns, rows, statement.form, self.range, asked.fill)
        return Asked(self.board, what, dict(self._declared[what].returns), statement, columns, rows, frame, at)


def _offered(rows: Sequence[Sequence[Any]]) -> tuple[str, ...]:
    """What a menu has: of several with the same text Grafana takes the first."""
    by_text: dict[str, str] = {}
    for text, value in rows:
        by_text.setdefault(str(text), str(value))
    return tuple(dict.fromkeys(by_text.values()))


def _picked(menu: Menu, options: tuple[str, ...], count: int | None, turn: int, given: str | None) -> Variable:
    one = given if given is not None else options[turn % len(options)] if options else ""
    variable = Variable(menu.name, one, menu.multi, menu.include_all, options)
    if not menu.multi:
        return variable
    if count is None:
        return replace(variable, value=(ALL,))
    turned = options[turn % max(len(options), 1) :] + options[: turn % max(len(options), 1)]
    return replace(variable, value=turned[:count])
