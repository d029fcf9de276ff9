"""The board Alerts: what nobody resolves does not make the times look good."""

import datetime

from tests.dashboards.boards.conftest import MINUTE, Views
from tests.dashboards.so_far import SoFar


def _at(micros: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(micros / 1e6, datetime.UTC)


def test_those_that_still_fire_count_as_lasting_until_now(views: Views) -> None:
    """One was over in a minute, two fire for ten hours: half of them did not take a minute."""
    begin = views.now - 600 * MINUTE
    rule = {"rule": "gpu_hot", "severity": "warning", "site": "east", "fired": begin, "fired_at": _at(begin)}
    over = {"state": "resolved", "resolved": begin + MINUTE, "resolved_at": _at(begin + MINUTE)}
    acknowledged = {"acknowledged_at": _at(begin + MINUTE)}
    views.put("alerts", rule | over, rule | {"state": "firing"}, rule | acknowledged | {"state": "firing"})
    views.put("alerts", rule | {"state": "firing", "held_by": "silence 1"})
    (told,) = views.rows("alerts", "Times", begin - MINUTE, begin + MINUTE)
    (of_rule,) = views.rows("alerts", "Rules", begin - MINUTE, begin + MINUTE)
    ten_hours = SoFar(600 * 60)
    assert all(ten_hours.fits(seconds) for seconds in (told["median"], told["ninth"], of_rule["median"]))
    assert told["still"] == 3
    assert SoFar((60 + ten_hours) / 2).fits(told["acknowledged"])
