"""The board Energy: what is not known is not drawn as nothing."""

import datetime
from typing import Any

from tests.dashboards.boards.conftest import MINUTE, Views

_PLACE = {"site": "east", "model": "H100", "simulated": False}


def _minute(at: int, use: str, power: float | None, **more: Any) -> dict[str, Any]:
    known = {"power_sum": 0.0, "power_seconds": 0} if power is None else {"power_sum": power * 60, "power_seconds": 60}
    return {"at": at, "use": use, "gpu_seconds": 60.0, **known, **_PLACE, **more}


def _lines(rows: list[dict[str, Any]], label: str, value: str) -> dict[tuple[int, str], float | None]:
    began: datetime.datetime = rows[0]["time"]
    return {((row["time"] - began) // datetime.timedelta(minutes=1), row[label]): row[value] for row in rows}


def test_the_power_of_a_use_that_is_not_known_is_no_0(views: Views) -> None:
    """Nothing was held: 0. Something was, and did not tell its power, or nobody did: not known."""
    begin = views.now - 30 * MINUTE
    views.put(
        "fleet_minutes",
        *(_minute(begin, use, power) for use, power in (("active", 500.0), ("free", 100.0))),
        *(_minute(begin + MINUTE, use, power) for use, power in (("active", 500.0), ("held", None))),
        *(_minute(begin + 2 * MINUTE, use, None) for use in ("active", "free")),
    )
    told = _lines(views.rows("energy", "Power by use", begin, begin + 3 * MINUTE), "use", "power")
    assert {use: [told[at, use] for at in range(3)] for use in ("active", "held", "free")} == {
        "active": [500.0, 500.0, None], "held": [0.0, None, None], "free": [100.0, 0.0, None],
    }  # fmt: skip


def test_the_power_of_a_site_that_is_silent_is_no_0(views: Views) -> None:
    """Its GPUs draw power, but nobody tells how much."""
    begin = views.now - 30 * MINUTE
    views.put("places", _PLACE | {"site": "west"})
    views.put("fleet_minutes", *(_minute(begin + each * MINUTE, "active", 500.0) for each in range(2)))
    views.put("fleet_minutes", _minute(begin, "active", 300.0, site="west"))
    told = _lines(views.rows("energy", "Power by site", begin, begin + 2 * MINUTE), "site", "power")
    assert told == {(0, "east"): 500.0, (0, "west"): 300.0, (1, "east"): 500.0, (1, "west"): None}


def test_figures_of_uses_that_are_not_known(views: Views) -> None:
    """Now, in the range, and of each place: nothing held is 0, held without a power is a dash."""
    begin = views.now - 10 * MINUTE
    for power, held, free in ((500.0, 0, None), (None, None, None)):
        views.connection.execute("DELETE FROM grafana.fleet_minutes")
        views.put("fleet_minutes", *(_minute(begin + each * MINUTE, "active", power) for each in range(9)))
        views.put("fleet_minutes", *(_minute(begin + each * MINUTE, "free", None) for each in range(9)))
        (now,) = views.rows("energy", "Power now", begin, begin + 9 * MINUTE + 30_000_000)
        assert (now["held"], now["free"], now["active"]) == (held, free, power)
        for panel in ("Energy in the range", "Sites and models"):
            (told,) = views.rows("energy", panel, begin, begin + 9 * MINUTE)
            assert (told["held"], told["free"]) == (held, free)
