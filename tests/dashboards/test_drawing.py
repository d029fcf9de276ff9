"""Pictures of boards show what their queries answered, in the words and colours of the panel."""

import datetime
import io
import json
from typing import Any

import psycopg
import pytest
from gpufleet_dashboards.discovery import every_board
from gpufleet_dashboards.render import document
from PIL import Image

from tests.dashboards.drawing import colours
from tests.dashboards.drawing.__main__ import Fleet, draw
from tests.dashboards.drawing.board import drawn, laid_out
from tests.dashboards.drawing.figures import reduced
from tests.dashboards.drawing.frames import Frame, of_query
from tests.dashboards.drawing.look import look, transformed
from tests.dashboards.drawing.panels import KINDS
from tests.dashboards.drawing.units import written
from tests.dashboards.fleet.world import World
from tests.dashboards.grafana_sql import frames
from tests.dashboards.grafana_sql.frames import Field

STEPS = {"steps": [{"color": "green", "value": None}, {"color": "red", "value": 80}]}
NAMES = Frame("A", [Field("user", "string", ["ada", "bob"]), Field("hours", "number", [1500.0, None])])


@pytest.mark.parametrize(
    ("value", "unit", "shown"),
    [
        (None, "watt", "–"), (1500.0, "watt", "1.50 kW"), (0.25, "percentunit", "25 %"), (12.34, "percent", "12.3 %"),
        (3 * 1024**3, "bytes", "3 GiB"), (90.0, "s", "1.50 min"), (0.002, "s", "2 ms"), (61.0, "celsius", "61 °C"),
        (100_000.0, "none", "100,000"), (7.5, "count:GPU h", "7.50 GPU h"), (16.8e6, "count:GPU h", "16.8M GPU h"),
        ("lost", "none", "lost"),
    ],
)  # fmt: skip
def test_values_are_written_in_their_unit(value: Any, unit: str, shown: str) -> None:
    """Scaled, with the unit's sign; absent is no nought."""
    assert written(value, unit) == shown


def test_colours_are_of_steps_and_of_single_values() -> None:
    """The last step that was reached; a mapping goes before."""
    assert colours.of_threshold(79.9, {"thresholds": STEPS}) == colours.NAMED["green"]
    assert colours.of_threshold(80, {"thresholds": STEPS}) == colours.NAMED["red"]
    assert colours.of_threshold(None, {"thresholds": STEPS}) is None
    mappings = [{"type": "value", "options": {"1": {"text": "active", "color": "blue"}}}]
    assert colours.mapped(1.0, mappings) == ("active", colours.NAMED["blue"])
    assert colours.mapped(0, mappings) == (None, None)


def test_overrides_go_before_defaults() -> None:
    """The field that an override names has its unit, heading and colours; others have the panel's."""
    override = {
        "matcher": {"id": "byName", "options": "hours"},
        "properties": [{"id": "unit", "value": "h"}, {"id": "displayName", "value": "Held"},
                       {"id": "custom.cellOptions", "value": {"type": "color-text"}}],
    }  # fmt: skip
    panel = {"fieldConfig": {"defaults": {"unit": "watt", "custom": {"align": "left"}}, "overrides": [override]}}
    user, hours = (look(panel, each, NAMES) for each in NAMES.fields)
    assert (user.unit, user.name, user.custom) == ("watt", "user", {"align": "left"})
    assert (hours.unit, hours.name, hours.text(None)) == ("h", "Held", "–")
    assert hours.custom == {"align": "left", "cellOptions": {"type": "color-text"}}


def test_series_are_named_by_their_labels() -> None:
    """As the panel says, or by the one label that tells them apart."""
    series = Field("power", "number", [1.0], {"site": "fra1"})
    of = Frame("A", [Field("Time", "time", [0]), series])
    assert look({}, series, of).name == "power fra1"
    named = {"fieldConfig": {"defaults": {"displayName": "${__field.labels.site}: ${__field.name}"}}}
    assert look(named, series, of).name == "fra1: power"


def test_a_figure_is_the_last_that_is_known_or_one_a_row() -> None:
    """What a panel of single figures reduces its fields to."""
    each_row = {"options": {"reduceOptions": {"values": True, "calcs": ["lastNotNull"], "fields": ""}}}
    assert [(name, value) for name, value, _ in reduced(each_row, [NAMES])] == [("ada", 1500.0), ("bob", None)]
    assert [value for _, value, _ in reduced({"options": {}}, [NAMES])] == [1500.0]


def test_what_is_not_known_fails() -> None:
    """A transformation that is not drawn is no silent change of the figures."""
    with pytest.raises(NotImplementedError, match="pivot"):
        transformed({"transformations": [{"id": "pivot"}]}, [NAMES])


def test_bands_are_parts_of_a_table() -> None:
    """A frame for each value, which becomes its label; rows keep their order."""
    step = {"id": "partitionByValues", "options": {"fields": ["user"], "keepFields": False}}
    ada, bob = transformed({"transformations": [step]}, [NAMES])
    assert [(each.name, each.values, each.labels) for each in ada.fields] == [("hours", [1500.0], {"user": "ada"})]
    assert bob.fields[0].labels == {"user": "bob"}


def test_closed_rows_are_drawn_open() -> None:
    """Their panels stand below them, and what follows moves down."""
    inside = {"id": 2, "type": "stat", "title": "", "gridPos": {"x": 0, "y": 1, "w": 24, "h": 4}}
    closed = {"id": 1, "type": "row", "title": "More", "gridPos": {"x": 0, "y": 0, "w": 24, "h": 1}, "panels": [inside]}
    after = {"id": 3, "type": "row", "title": "Last", "gridPos": {"x": 0, "y": 1, "w": 24, "h": 1}, "panels": []}
    assert [(each["id"], each["gridPos"]["y"]) for each in laid_out([closed, after])] == [(1, 0), (2, 1), (3, 5)]


def test_every_kind_is_drawn_with_data_and_without() -> None:
    """A picture of the grid's size; with rows it is another than without."""
    times = [1_790_000_000_000_000 + n * 60_000_000 for n in range(30)]
    series = [Field("power", "number", [300.0 + n * m for n in range(30)], {"gpu": str(m)}) for m in range(3)]
    by_time = of_query("A", frames.Frame([Field("Time", "time", times), *series]))
    assert by_time.times[0] == datetime.datetime.fromtimestamp(times[0] / 1e6, datetime.UTC)
    for kind in KINDS:
        # Bars and slices are of rows, all else is of series too.
        rows = by_time if kind in ("timeseries", "trend", "state-timeline", "status-history", "heatmap") else NAMES
        place = {"x": 0, "y": 0, "w": 12, "h": 8}
        panel = {"id": 1, "type": kind, "title": kind, "gridPos": place, "options": {"content": "words"}}
        board = {"title": "A board", "panels": [panel]}
        full, empty = drawn(board, {1: [rows]}, "1 h"), drawn(board, {}, "1 h")
        with Image.open(io.BytesIO(full)) as picture:
            assert picture.size == (1152, 290)
        assert (full != empty) is (kind != "text")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_board_is_drawn_of_a_fleet(world: World) -> None:
    """What the documentation shows: a picture of what the board's own queries gave, small enough to be checked in."""
    board = json.loads(document(every_board()["fleet"]))
    of = Fleet(world.reader_url, world.end // 1000, frozenset())
    with psycopg.connect(of.url, autocommit=True) as reader:
        picture = draw(board, reader, of)
    assert picture != drawn(board, {}, "")
    assert len(picture) < 200_000
    with Image.open(io.BytesIO(picture)) as image:
        assert image.format == "PNG" and image.width == 1152
