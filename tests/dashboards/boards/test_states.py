"""Lists of GPUs that are not as they should be: on Fleet the lost ones, on Inventory those that were taken out."""

from contextlib import closing

import psycopg
import pytest
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tiers import fleet_groups

from tests.dashboards.fleet.boards import Viewer
from tests.dashboards.grafana_sql.front import Range
from tests.server.fixtures import NewDatabase, new_postgresql
from tests.server.fleet import NOW, in_every_state

__all__ = ["new_postgresql"]


@pytest.mark.parametrize(
    ("board", "panel", "states"),
    [
        ("fleet", "GPUs that are gone from the bus, or whose driver fails", {"lost", "driver_failed"}),
        ("inventory", "GPUs that are gone", {"removed"}),
    ],
)
def test_all_in_a_state_are_listed(new_postgresql: NewDatabase, board: str, panel: str, states: set[str]) -> None:
    """Whichever way they came into it, and no others."""
    url = new_postgresql()
    with closing(Store.open(url)) as store:
        told = in_every_state(store)
        with store.writing() as connection:
            connection.execute(fleet_groups.insert(), {"site": "", "model": "", "simulated": False, "state": "free"})
    with psycopg.connect(url) as asking:
        viewer = Viewer(asking, board, Range(NOW // 1000, NOW // 1000 + 3_600_000))
        viewer.choose(None)
        asked = viewer.panel(panel)
    (column,) = (number for number, (name, _) in enumerate(asked.columns) if name == "gpu")
    expected = sorted(name for name, state in told.items() if state in states and name.startswith("GPU-"))
    assert sorted(row[column] for row in asked.rows) == expected
    assert len(expected) > 2
