"""Panels say what Grafana would else fill in otherwise than is meant: each test names what its source does.

Grafana's own defaults are laid under what a panel says, thresholds among them: green, and red from 80 on.
"""

import dataclasses
import json
from typing import Any

import pytest
from gpufleet_dashboards import units
from gpufleet_dashboards.board import Row
from gpufleet_dashboards.check import panels
from gpufleet_dashboards.kinds import Gauges, Kind, Lines, Pie, Stat
from gpufleet_dashboards.query import Query, number, text
from gpufleet_dashboards.render import document
from gpufleet_dashboards.rendered import documents
from gpufleet_dashboards.scale import GREEN, RED, steps

from tests.dashboards.small import SERIES, board, panel

Json = dict[str, Any]
EVERY = {
    f"{name}: {each['title']}": each
    for name, written in documents()
    for each in panels(json.loads(written))
    if "fieldConfig" in each
}


def of_type(*types: str) -> pytest.MarkDecorator:
    """For each panel of all boards, of some of Grafana's kinds."""
    found = {name: each for name, each in EVERY.items() if each["type"] in types}
    assert found
    return pytest.mark.parametrize("made", found.values(), ids=found)


def defaults(made: Json) -> Json:
    """What is said of all fields of a panel."""
    found: Json = made["fieldConfig"]["defaults"]
    return found


@pytest.mark.parametrize("made", EVERY.values(), ids=EVERY)
def test_what_goes_by_thresholds_has_some(made: Json) -> None:
    """Else everything from 80 on is red: watts, bytes, GPUs."""
    if defaults(made).get("color", {}).get("mode") == "thresholds":
        assert defaults(made)["thresholds"]["steps"]


@of_type("state-timeline")
def test_states_with_words_do_not_go_by_thresholds(made: Json) -> None:
    """Bands that are merged by thresholds are in the thresholds' words and colours, not in the mappings' (#71804)."""
    assert made["options"]["mergeValues"]
    assert defaults(made)["color"]["mode"] != "thresholds"


@of_type("bargauge", "piechart")
def test_rows_are_named_by_their_texts(made: Json) -> None:
    """Where a number has a name, each row is called by it."""
    assert made["options"]["reduceOptions"]["values"]
    named = [
        override["matcher"]["options"]
        for override in made["fieldConfig"]["overrides"]
        for each in override["properties"]
        if each["id"] == "displayName"
    ]
    assert (named, defaults(made).get("displayName")) == ([], None)


@pytest.mark.parametrize("kind", [Gauges(), Pie(), Stat(every_row=True)])
def test_a_heading_of_rows_is_refused(kind: Kind) -> None:
    """So nobody names all bars alike."""
    query = Query("SELECT 'a' AS site, 1.0 AS gpus", {"site": text(), "gpus": number(units.COUNT, "GPUs")})
    with pytest.raises(ValueError, match="every row"):
        panel(kind, query)


@of_type("heatmap")
def test_heat_has_its_scale_and_shows_noughts(made: Json) -> None:
    """The scale is an option of its own, else from the least to the most of what is shown; so is what is hidden."""
    scale = made["options"]["color"]
    assert (scale["min"], scale["max"]) == (defaults(made)["min"], defaults(made)["max"])
    assert 0 < made["options"]["filterValues"]["le"] < 1e-10
    assert defaults(made)["decimals"] is not None


def test_heat_without_ends_takes_them_from_its_values() -> None:
    """As Grafana does where it is not told."""
    (made,) = (each for each in panels(json.loads(document(board()))) if each["type"] == "heatmap")
    assert not {"min", "max"} & made["options"]["color"].keys()


@of_type("barchart")
def test_bars_have_labels_and_colours_of_their_own(made: Json) -> None:
    """A length of 0 leaves three dots of each; by thresholds all bars of a site have one colour."""
    assert made["options"]["xTickLabelMaxLength"] > 10
    assert defaults(made)["color"]["mode"] != "thresholds"


@of_type("timeseries")
def test_lines_are_told_apart(made: Json) -> None:
    """By thresholds all of a line has the colour of its last value; steps are drawn across."""
    assert defaults(made)["color"]["mode"] != "thresholds"
    drawn = defaults(made)["custom"].get("thresholdsStyle", {}).get("mode")
    assert drawn == ("dashed" if "thresholds" in defaults(made) else None)


def test_bars_begin_when_their_interval_does() -> None:
    """Else the middle of each is there, half an interval too early."""
    (_, made) = json.loads(document(board(Row("One", (panel(Lines(bars=True), SERIES, w=24),)))))["panels"]
    assert defaults(made)["custom"]["barAlignment"] == 1


def test_steps_of_lines_are_drawn_across() -> None:
    """So it is seen where a line crosses them."""
    stepped = dataclasses.replace(panel(Lines(), SERIES, w=24), steps=steps(GREEN, (3, RED)))
    (_, made) = json.loads(document(board(Row("One", (stepped,)))))["panels"]
    assert defaults(made)["custom"]["thresholdsStyle"] == {"mode": "dashed"}


@of_type("stat")
def test_a_figure_that_is_absent_says_so(made: Json) -> None:
    """Else there is nothing at all under its name."""
    assert defaults(made)["noValue"]


@of_type("table")
def test_links_are_not_of_what_an_empty_table_says(made: Json) -> None:
    """Links have the text of a hidden column, the word for nothing too: it would be taken for a node's or GPU's."""
    for override in made["fieldConfig"]["overrides"]:
        properties = {each["id"]: each["value"] for each in override["properties"]}
        if "custom.hidden" in properties and "noValue" in defaults(made):
            assert properties["noValue"] == ""
