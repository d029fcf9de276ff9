"""The board Health: that all is chosen is said of what there is, and not of how many were chosen."""

from dataclasses import replace

import pytest

from tests.dashboards.boards.conftest import MINUTE, Views
from tests.dashboards.fleet.boards import Viewer
from tests.dashboards.grafana_sql.front import Range

_PLACES = tuple({"site": site, "model": "H100", "simulated": False} for site in ("east", "west"))


@pytest.mark.parametrize("minutes", [60, 60 * 24 * 7])
def test_a_site_that_is_no_more_does_not_stand_for_another(views: Views, minutes: int) -> None:
    """A link of before names as many sites as there are, one of them gone: the other is not chosen by that."""
    views.put("places", _PLACES[1])
    for number, place in enumerate(_PLACES):
        of_gpu = place | {"node_id": number, "node": f"node{number}", "gpu_id": number, "gpu": f"GPU-{number}"}
        views.put("nodes", {name: of_gpu[name] for name in ("node_id", "node", "site", "simulated")})
        views.put("gpus", of_gpu)
        views.put("usage_places", place | {"place_id": number})
        of_gpu |= {"place_id": number}
        views.put("events", *([of_gpu | {"at": views.now - MINUTE, "kind": "xid", "code": 79}] * (number + 1)))
    viewer = Viewer(views.connection, "health", Range((views.now - minutes * MINUTE) // 1000, views.now // 1000))
    viewer.choose(None)
    viewer.chosen = [
        replace(each, value=("east", "gone"), options=("east", "gone")) if each.name == "site" else each
        for each in viewer.chosen
    ]
    # Other intervals have no value.
    assert [row[2] for row in viewer.panel("Events by kind").rows if row[2] is not None] == [1]
