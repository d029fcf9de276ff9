"""Each thing that can be wrong with a board is found, and nothing else."""

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from gpufleet_dashboards.check import faults
from gpufleet_dashboards.render import document

from tests.dashboards.small import board

Document = dict[str, Any]
Change = Callable[[Document], None]


def small() -> Document:
    """A board with which nothing is wrong."""
    found: Document = json.loads(document(board()))
    return found


def wrong(change: Change) -> list[str]:
    """What is found once it was changed."""
    changed = small()
    change(changed)
    return [str(fault) for fault in faults({"small.json": changed})]


def lines(found: Document) -> Any:
    """Its first panel."""
    return found["panels"][1]


def to(target: Callable[[Document], Any], key: str, value: object) -> Change:
    """Sets something."""
    return lambda found: target(found).__setitem__(key, value)


def link(url: str) -> Change:
    """Makes the first panel lead there."""
    return lambda found: lines(found)["fieldConfig"]["defaults"].__setitem__("links", [{"title": "x", "url": url}])


def test_nothing_is_wrong_with_a_board_as_it_is_built() -> None:
    """Of every kind of panel."""
    assert faults({"small.json": small()}) == []


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (to(lambda d: d, "description", ""), "board: has no description"),
        (to(lambda d: d, "tags", []), "board: has not the tag gpufleet"),
        (to(lines, "description", " "), "panel 'GPUs': has no description"),
        (to(lines, "title", ""), "panel 2: has no title"),
        (to(lambda d: lines(d)["fieldConfig"]["defaults"], "unit", ""), "panel 'GPUs': has no unit"),
        (to(lines, "targets", []), "panel 'GPUs': asks nothing"),
        (
            to(lambda d: lines(d)["targets"][0], "refId", ""),
            "panel 'GPUs': has queries without, or with the same, refId",
        ),
        (to(lambda d: lines(d)["targets"][0], "rawSql", " "), "panel 'GPUs': has an empty query"),
        (to(lines, "id", 3), "panel 'GPUs': its id 3 is none, or another's"),
        (to(lambda d: lines(d)["gridPos"], "w", 25), "panel 'GPUs': does not fit the grid"),
        (to(lambda d: lines(d)["gridPos"], "w", 9), "panel 'GPUs': lies over panel 'GPUs'"),
        (to(lambda d: lines(d)["gridPos"], "w", 7), "line 1: is 23 columns wide, not 24"),
        (
            to(lambda d: lines(d)["targets"][0], "rawSql", "SELECT '$rack'"),
            "panel 'GPUs': asks with $rack, which the board has not",
        ),
        (to(lambda d: d["templating"]["list"][1], "query", "SELECT '$rack'"), "variable site: asks with $rack"),
        (
            to(lambda d: d["annotations"]["list"][0]["target"], "rawSql", "SELECT '$rack'"),
            "annotation marks: asks with $rack",
        ),
        (link("/d/gpufleet-none?x"), "panel 'GPUs': leads to gpufleet-none, which no board is"),
        (link("/d/gpufleet-small?var-rack=1"), "panel 'GPUs': gives gpufleet-small a variable rack, which it has not"),
        (link("/d/gpufleet-small?${rack:queryparam}"), "panel 'GPUs': takes along $rack, which this board has not"),
        (to(lines, "colour", "red"), "board: the SDK reads it otherwise"),
        (to(lambda d: d, "time", 3), "board: the SDK can't read it"),
    ],
)
def test_what_is_wrong_is_found(change: Change, found: str) -> None:
    """And said where."""
    assert any(each.startswith(f"small.json: {found}") for each in wrong(change)), wrong(change)


def test_two_boards_of_one_uid() -> None:
    """Grafana would have the last of them only."""
    other = copy.deepcopy(small()) | {"title": "Another"}
    assert [str(each) for each in faults({"a.json": small(), "b.json": other})] == [
        "b.json: board: has the uid of a.json"
    ]
