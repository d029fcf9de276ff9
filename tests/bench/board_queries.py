"""What Grafana asks of the database when a board is opened: from the board's JSON, values chosen from its menus."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tests.dashboards.grafana_sql.front import ALL, Asked, Range, Variable, replaced
from tests.dashboards.grafana_sql.intervals import of_range
from tests.dashboards.grafana_sql.macros import Expanded, expanded

# What answers a menu's query: the names of the columns, and the rows.
Ask = Callable[[str], tuple[Sequence[str], Sequence[Sequence[Any]]]]


@dataclass(frozen=True)
class Statement:
    """A query of a board: whose it is, its SQL, the panel's id, points at most and least interval (panels only)."""

    owner: str
    sql: str
    form: str = "table"
    panel: int | None = None
    ref: str = "A"
    points: int = 0
    least: str | None = None


@dataclass(frozen=True)
class Menu:
    """A variable whose choices come of a query."""

    name: str
    query: Statement
    multi: bool
    include_all: bool


@dataclass(frozen=True)
class BoardQueries:
    """A board's uid and title, its variables in their order, and all that is asked once these are chosen."""

    uid: str
    title: str
    menus: list[Menu]
    statements: list[Statement]


def of_board(board: Mapping[str, Any]) -> BoardQueries:
    """The queries of a board in its classic JSON."""
    menus = [_menu(each) for each in board["templating"]["list"] if each["type"] == "query"]
    return BoardQueries(board["uid"], board["title"], menus, [*_of_panels(board["panels"]), *_annotations(board)])


def _menu(variable: Mapping[str, Any]) -> Menu:
    query = variable["query"]
    sql = query if isinstance(query, str) else query["rawSql"]
    statement = Statement(f"variable {variable['name']}", sql)
    return Menu(variable["name"], statement, bool(variable.get("multi")), bool(variable.get("includeAll")))


def _of_panels(panels: Sequence[Mapping[str, Any]]) -> Iterator[Statement]:
    for panel in panels:
        yield from _of_panels(panel.get("panels") or [])
        for target in panel.get("targets") or []:
            points = panel.get("maxDataPoints") or 80 * panel["gridPos"]["w"]
            owner = f"{panel['title']} ({panel['id']})"
            named = (owner, target["rawSql"], target["format"], panel["id"], target["refId"])
            yield Statement(*named, points=points, least=panel.get("interval"))


def _annotations(board: Mapping[str, Any]) -> Iterator[Statement]:
    for each in board["annotations"].get("list") or []:
        if "rawSql" in (each.get("target") or {}):
            yield Statement(f"annotation {each['name']}", each["target"]["rawSql"])


def statement(of: Statement, range_: Range, chosen: Sequence[Variable]) -> str:
    """What reaches the database of it."""
    return sent(of, range_, chosen).sql


def sent(of: Statement, range_: Range, chosen: Sequence[Variable]) -> Expanded:
    """What reaches the database, and how what comes back is filled."""
    interval = of_range(range_.end - range_.begin, of.points, of.least) if of.points else None
    sql = replaced(of.sql, Asked(range_, chosen, interval))
    return expanded(sql, range_, *([interval] if interval else []))


def chosen(
    board: BoardQueries,
    range_: Range,
    ask: Ask,
    chance: random.Random,
    liked: frozenset[str],
    *,
    everything: bool = False,
) -> list[Variable]:
    """The variables with values of their menus: All, or a few, or one; of `liked` where these are among them.

    `everything`: All wherever there is one.
    """
    found: list[Variable] = []
    for menu in board.menus:
        names, rows = ask(statement(menu.query, range_, found))
        place = names.index("__value") if "__value" in names else 0
        options = tuple(dict.fromkeys(str(row[place]) for row in rows))
        found.append(_pick(menu, options, chance, liked, everything))
    return found


def _pick(
    menu: Menu, options: tuple[str, ...], chance: random.Random, liked: frozenset[str], everything: bool
) -> Variable:
    if not options:
        return Variable(menu.name, (ALL,) if menu.multi else "", menu.multi, menu.include_all)
    if menu.multi:
        several = tuple(chance.sample(options, min(len(options), chance.randint(1, 3))))
        value: str | tuple[str, ...] = (ALL,) if menu.include_all and (everything or chance.random() < 0.5) else several
    else:
        value = chance.choice([each for each in options if each in liked] or options)
    return Variable(menu.name, value, menu.multi, menu.include_all, options)
