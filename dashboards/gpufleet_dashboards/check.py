"""What is wrong with boards, as the JSON that Grafana takes: this package's own, and files that people changed."""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from gpufleet_dashboards.panel import GRID
from gpufleet_dashboards.query import read_sql_targets, variables_in
from gpufleet_dashboards.render import TAG, encoded, text_of

Json = Mapping[str, Any]
_LINK = re.compile(r"^/d/([^/?]+)(?:\?(.*))?$")
_GIVEN = re.compile(r"(?:^|&)var-([A-Za-z0-9_]+)=")
_KEPT = re.compile(r"\$\{([A-Za-z0-9_]+):queryparam\}")
# Kinds of panels that show no figures.
_WITHOUT_FIGURES = frozenset({"row", "text"})


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong: in which file, where in it, and what."""

    file: str
    where: str
    what: str

    def __str__(self) -> str:
        return f"{self.file}: {self.where}: {self.what}"


def faults(documents: Mapping[str, Json]) -> list[Fault]:
    """All that is wrong with dashboards, by their files' names; links are looked for among them."""
    by_uid = {document.get("uid"): document for document in documents.values()}
    found = [*_same_uids(documents)]
    for file, document in documents.items():
        for where, what in _of_board(document, by_uid):
            found.append(Fault(file, where, what))
    return sorted(found)


def panels(document: Json) -> Iterator[Json]:
    """A dashboard's panels, rows' headings and those within collapsed rows too."""
    for panel in document.get("panels", []):
        yield panel
        yield from panel.get("panels", [])


def _same_uids(documents: Mapping[str, Json]) -> Iterator[Fault]:
    for (one, first), (two, second) in itertools.combinations(documents.items(), 2):
        for what in ("uid", "title"):
            if first.get(what) == second.get(what):
                yield Fault(two, "board", f"has the {what} of {one}")


def _of_board(document: Json, by_uid: Mapping[Any, Json]) -> Iterator[tuple[str, str]]:
    for what in ("uid", "title", "description"):
        if not document.get(what):
            yield "board", f"has no {what}"
    if TAG not in document.get("tags", []):
        yield "board", f"has not the tag {TAG}, by which boards find each other"
    yield from _read_again(document)
    yield from _numbers(document)
    yield from _grid(document)
    yield from _variables(document)
    yield from _links(document, by_uid)
    for panel in panels(document):
        yield from ((_name(panel), what) for what in _of_panel(panel))


def _name(panel: Json) -> str:
    return f"panel {panel.get('title') or panel.get('id')!r}"


def _of_panel(panel: Json) -> Iterator[str]:
    if not panel.get("title"):
        yield "has no title"
    if panel.get("type") == "row":
        return
    if not str(panel.get("description") or "").strip():
        yield "has no description"
    if panel.get("type") in _WITHOUT_FIGURES:
        return
    if not panel.get("fieldConfig", {}).get("defaults", {}).get("unit"):
        yield "has no unit"
    targets = panel.get("targets", [])
    if not targets:
        yield "asks nothing"
    refs = [target.get("refId") for target in targets]
    if not all(refs) or len(set(refs)) != len(refs):
        yield "has queries without, or with the same, refId"
    if not all(str(target.get("rawSql") or "").strip() for target in targets):
        yield "has an empty query"


def _numbers(document: Json) -> Iterator[tuple[str, str]]:
    seen: set[Any] = set()
    for panel in panels(document):
        number = panel.get("id")
        if not isinstance(number, int) or number < 1 or number in seen:
            yield _name(panel), f"its id {number!r} is none, or another's"
        seen.add(number)


def _grid(document: Json) -> Iterator[tuple[str, str]]:
    yield from _in_grid(document.get("panels", []))
    for panel in document.get("panels", []):
        yield from _in_grid(panel.get("panels", []))


def _in_grid(together: list[Json]) -> Iterator[tuple[str, str]]:
    taken: dict[tuple[int, int], str] = {}
    across: dict[int, int] = {}
    for panel in together:
        place = panel.get("gridPos", {})
        x, y, w, h = (place.get(name, 0) for name in "xywh")
        if w < 1 or h < 1 or x < 0 or y < 0 or x + w > GRID:
            yield _name(panel), f"does not fit the grid: {w} wide from column {x}"
            continue
        cells = list(itertools.product(range(x, x + w), range(y, y + h)))
        if over := {taken[cell] for cell in cells if cell in taken}:
            yield _name(panel), f"lies over {', '.join(sorted(over))}"
        taken.update(dict.fromkeys(cells, _name(panel)))
        across[y] = across.get(y, 0) + w
    yield from ((f"line {y}", f"is {width} columns wide, not {GRID}") for y, width in across.items() if width < GRID)


def _variables(document: Json) -> Iterator[tuple[str, str]]:
    variables = document.get("templating", {}).get("list", [])
    there = [variable.get("name") for variable in variables]
    asked = [(_name(panel), target.get("rawSql") or "") for panel in panels(document) for target in _targets(panel)]
    asked += [(f"variable {each.get('name')}", str(each.get("query"))) for each in variables]
    marks = document.get("annotations", {}).get("list", [])
    asked += [(f"annotation {each.get('name')}", each.get("target", {}).get("rawSql") or "") for each in marks]
    for where, sql in asked:
        yield from ((where, f"asks with ${name}, which the board has not") for name in variables_in(sql) - set(there))


def _targets(panel: Json) -> list[Json]:
    found: list[Json] = panel.get("targets", [])
    return found


def _links(document: Json, by_uid: Mapping[Any, Json]) -> Iterator[tuple[str, str]]:
    own = _names(document)
    for where, url in _urls(document):
        if (there := _LINK.match(url)) is None:
            continue
        target = by_uid.get(there[1])
        if target is None:
            yield where, f"leads to {there[1]}, which no board is"
            continue
        parameters = there[2] or ""
        for name in sorted(set(_GIVEN.findall(parameters)) - _names(target)):
            yield where, f"gives {there[1]} a variable {name}, which it has not"
        for name in sorted(set(_KEPT.findall(parameters)) - own):
            yield where, f"takes along ${name}, which this board has not"


def _names(document: Json) -> set[str]:
    return {variable.get("name", "") for variable in document.get("templating", {}).get("list", [])}


def _urls(document: Json) -> Iterator[tuple[str, str]]:
    yield from (("board", link.get("url") or "") for link in document.get("links", []))
    for panel in panels(document):
        config = panel.get("fieldConfig", {})
        lists = [config.get("defaults", {}).get("links", []), panel.get("links", [])]
        for override in config.get("overrides", []):
            lists += [each["value"] for each in override.get("properties", []) if each.get("id") == "links"]
        yield from ((_name(panel), link.get("url") or "") for links in lists for link in links)


def _read_again(document: Json) -> Iterator[tuple[str, str]]:
    """The SDK's own reading of it, written again, must be the same: it knows each key, and each has a right value."""
    register_default_plugins()
    read_sql_targets()
    try:
        again = encoded(Dashboard.from_json(dict(document)))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        yield "board", f"the SDK can't read it: {error!r}"
        return
    if again != text_of(document):
        yield "board", f"the SDK reads it otherwise: {_first_difference(text_of(document), again)}"


def _first_difference(one: str, two: str) -> str:
    for number, (left, right) in enumerate(zip(one.splitlines(), two.splitlines(), strict=False), 1):
        if left != right:
            return f"line {number}, {left.strip()} becomes {right.strip()}"
    return "it is longer, or shorter"
