"""Differences of boards: what Grafana adds by itself is none."""

import json
from typing import Any

from gpufleet_dashboards.diff import difference
from gpufleet_dashboards.render import document

from tests.dashboards.small import board


def small() -> dict[str, Any]:
    """The board as it is built."""
    found: dict[str, Any] = json.loads(document(board()))
    return found


def test_what_grafana_adds_is_no_difference() -> None:
    """Numbers of its own, its own annotation, and empty values."""
    own = {"builtIn": 1, "datasource": {"type": "grafana", "uid": "-- Grafana --"}, "name": "Annotations & Alerts"}
    there = small() | {"id": 17, "version": 4, "schemaVersion": 43, "weekStart": "", "liveNow": False}
    there["annotations"]["list"].insert(0, own)
    assert difference("small.json", there, small()) == []


def test_what_people_changed_is_shown() -> None:
    """As lines that building would take away and put there."""
    there = small() | {"title": "Ours"}
    lines = difference("small.json", there, small())
    assert '-  "title": "Ours",' in lines
    assert '+  "title": "Small",' in lines


def test_a_board_that_is_not_there_is_all_new() -> None:
    """Nothing of it is taken away."""
    lines = difference("small.json", None, small())
    assert not any(line.startswith("-") for line in lines[2:])
    assert '+  "title": "Small",' in lines
