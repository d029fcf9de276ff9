"""Boards become the same bytes each time, and the JSON that Grafana's own model of a dashboard knows."""

import dataclasses
import json
import subprocess
import sys
from typing import Any

import pytest
from gpufleet_dashboards.board import Row
from gpufleet_dashboards.discovery import every_board
from gpufleet_dashboards.kinds import Table
from gpufleet_dashboards.render import document
from gpufleet_dashboards.rendered import documents, folder, stale

from tests.dashboards.small import DESCRIPTION, ROWS, board, panel

MADE = "from tests.dashboards.small import board; from gpufleet_dashboards.render import document; import sys; "


def small() -> dict[str, Any]:
    """The small board as Grafana is given it."""
    found: dict[str, Any] = json.loads(document(board()))
    return found


def test_another_process_makes_the_same_bytes() -> None:
    """Sets and dictionaries of another order would show."""
    for seed in ("1", "2"):
        made = subprocess.run(
            [sys.executable, "-c", MADE + "sys.stdout.write(document(board()))"],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": "."},
            check=True,
            capture_output=True,
            text=True,
        )
        assert made.stdout == document(board())


def test_what_lies_in_the_tree_is_what_the_boards_say() -> None:
    """Whoever changes a board builds it."""
    assert list(stale(folder(), dict(documents()))) == []


def test_numbers_and_places() -> None:
    """Each row and panel has a number of its own; panels of a collapsed row are within it."""
    first, second = (each for each in small()["panels"] if each["type"] == "row")
    assert (first["collapsed"], first["panels"]) == (False, [])
    assert [each["id"] for each in second["panels"]] == list(range(6, 13))
    assert [each["type"] for each in second["panels"]] == [
        *("state-timeline", "heatmap", "stat", "bargauge", "barchart", "piechart", "text")
    ]


def test_a_panel_has_what_was_said_of_it() -> None:
    """Title, description, unit, query, and how Grafana is to read it."""
    lines = small()["panels"][1]
    assert (lines["title"], lines["description"], lines["type"]) == ("GPUs", DESCRIPTION, "timeseries")
    assert lines["fieldConfig"]["defaults"]["unit"] == "locale"
    assert lines["fieldConfig"]["defaults"]["displayName"] == "${__field.labels.site}"
    target = lines["targets"][0]
    assert (target["format"], target["refId"], target["rawQuery"]) == ("time_series", "A", True)
    assert target["datasource"] == {"type": "grafana-postgresql-datasource", "uid": "${datasource}"}


def test_columns_of_a_table() -> None:
    """Headings, links and colours are of single columns."""
    table = small()["panels"][3]
    site, gpus = table["fieldConfig"]["overrides"]
    assert site["matcher"] == {"id": "byName", "options": "site"}
    properties = {each["id"]: each["value"] for each in site["properties"]}
    assert properties["displayName"] == "Site"
    assert properties["links"][0]["url"] == "/d/gpufleet-small?var-site=${__data.fields.site}&${__url_time_range}"
    assert {"id": "custom.cellOptions", "value": {"type": "color-text"}} in gpus["properties"]


def test_what_an_empty_table_says_is_not_said_in_its_cells() -> None:
    """Grafana writes a panel's word for nothing into cells without a value, unless the column has its own."""
    table = dataclasses.replace(panel(Table(), ROWS, w=24), nothing="nothing fires")
    (_, made) = json.loads(document(board(Row("One", (table,)))))["panels"]
    assert made["fieldConfig"]["defaults"]["noValue"] == "nothing fires"
    cells = {
        override["matcher"]["options"]: each["value"]
        for override in made["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == "noValue"
    }
    assert cells == {"site": "–", "gpus": "–"}


def test_what_is_chosen_at_the_top() -> None:
    """The data source first: one imported by hand asks for it; of others, all."""
    source, site = small()["templating"]["list"]
    assert (source["type"], source["query"]) == ("datasource", "grafana-postgresql-datasource")
    assert source["current"]["value"] == "gpufleet-pg"
    assert (site["name"], site["multi"], site["includeAll"], site["refresh"]) == ("site", True, True, 1)
    assert site["current"]["value"] == ["$__all"]


def test_marks_ask_the_same_source() -> None:
    """An annotation is a query as a panel's is."""
    mark = small()["annotations"]["list"][0]
    assert (mark["name"], mark["enable"], mark["target"]["format"]) == ("marks", True, "table")
    assert mark["datasource"]["uid"] == "${datasource}"


@pytest.mark.parametrize("name", every_board())
def test_boards_are_named_for_their_modules(name: str) -> None:
    """So that a link is known by the module that it leads to."""
    found = every_board()[name]
    assert found.uid == f"gpufleet-{name}"
    assert found.title.startswith("gpufleet")
