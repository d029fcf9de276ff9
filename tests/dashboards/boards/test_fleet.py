"""The board Fleet: which of its figures are of the end of the range, and which of now; what is 0, and what unknown."""

import pytest

from tests.dashboards.boards.conftest import MINUTE, Views
from tests.dashboards.truth.seen import plain

_PLACE = {"site": "east", "model": "H100", "simulated": False}


def test_healthy_is_of_now_alone(views: Views) -> None:
    """A range of the past has its own GPUs, and today's alerts do not make some of them ill."""
    past, now = views.now - 600 * MINUTE, views.now - MINUTE
    views.put(
        "fleet_states", *(_PLACE | {"at": past - each * MINUTE, "state": "reporting", "gpus": 5} for each in (0, 1))
    )
    views.put("fleet_states", _PLACE | {"at": past, "state": "lost", "gpus": 2})
    views.put("fleet_states", _PLACE | {"at": now, "state": "reporting", "gpus": 8})
    views.put("fleet_states", _PLACE | {"at": now, "state": "lost", "gpus": 1})
    views.put("gpus", *({"gpu_id": each, "gpu": f"GPU-{each}", "state": "reporting"} | _PLACE for each in range(8)))
    views.put("alerts", {"gpu": "GPU-3", "state": "firing", "severity": "critical", "node_uuid": "a"})

    def one(panel: str) -> object:
        (row,) = views.rows("fleet", panel, past - 60 * MINUTE, past + MINUTE)
        return row["gpus"]

    assert (one("Owned"), one("Reporting"), one("Healthy now")) == (7, 5, 7)
    (place,) = views.rows("fleet", "Sites and models", past - 60 * MINUTE, past + MINUTE)
    assert (place["owned"], place["reporting"], place["healthy"]) == (7, 5, 7)


def test_what_is_not_counted_any_more_is_not_healthy(views: Views) -> None:
    """Without a server nobody counts: nothing is known of now, while the past is."""
    past = views.now - 600 * MINUTE
    views.put("fleet_states", _PLACE | {"at": past, "state": "reporting", "gpus": 5})
    (healthy,) = views.rows("fleet", "Healthy now", past - 60 * MINUTE, past + MINUTE)
    (place,) = views.rows("fleet", "Sites and models", past - 60 * MINUTE, past + MINUTE)
    assert healthy["gpus"] is None
    assert (place["owned"], place["healthy"]) == (5, None)


def test_the_power_that_nobody_told_is_no_0(views: Views) -> None:
    """Of a site whose GPUs do not tell it, and of the fleet where none does."""
    begin = views.now - 10 * MINUTE
    views.put("places", _PLACE | {"site": "west"})
    untold = _PLACE | {"use": "active", "gpu_seconds": 60.0, "power_sum": 0.0, "power_seconds": 0.0}
    west = untold | {"site": "west"}
    for power in (500.0, None):
        views.connection.execute("DELETE FROM grafana.fleet_minutes")
        told = untold if power is None else untold | {"power_sum": power * 60, "power_seconds": 60.0}
        views.put("fleet_minutes", *(each | {"at": begin + n * MINUTE} for n in range(9) for each in (told, west)))
        views.put("fleet_states", *(_PLACE | {"site": site, "at": begin, "gpus": 1} for site in ("east", "west")))
        end = begin + 9 * MINUTE + 30_000_000
        (now,) = views.rows("fleet", "Power", begin, end)
        assert now["power"] == power
        places = {row["site"]: row["power"] for row in views.rows("fleet", "Sites and models", begin, end)}
        assert places == {"east": power, "west": None}
        lines = {(row["site"], row["power"]) for row in views.rows("fleet", "Power, by site", begin, end)}
        assert lines == {("east", power), ("west", None)}


@pytest.mark.parametrize(("board", "panel"), [("fleet", "GPUs by use"), ("waste", "GPUs by what they did")])
def test_a_use_that_none_had_is_0_where_others_were_observed(views: Views, board: str, panel: str) -> None:
    """Where nobody was observed nothing is said, of whichever use."""
    begin = views.now - 10 * MINUTE
    for minute, uses in {0: ("active", "free"), 1: ("active",), 5: ("free",)}.items():
        told = _PLACE | {"at": begin + minute * MINUTE, "gpu_seconds": 120.0}
        views.put("fleet_minutes", *(told | {"use": use} for use in uses))
    rows = views.rows(board, panel, begin, begin + 7 * MINUTE)
    seen = {((plain(row["time"]) - begin) // MINUTE, row["use"]): row["gpus"] for row in rows}
    assert seen == {
        (0, "active"): 2, (0, "free"): 2, (1, "active"): 2, (1, "free"): 0,
        (2, "active"): None, (2, "free"): None, (5, "active"): 0, (5, "free"): 2,
    }  # fmt: skip
