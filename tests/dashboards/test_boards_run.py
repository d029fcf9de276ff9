"""Every query of every board, asked as Grafana asks it of a real PostgreSQL, by the reader alone."""

import pytest
from gpufleet_dashboards.discovery import every_board
from gpufleet_dashboards.query import Type

from tests.dashboards.fleet.boards import OIDS, RANGES, Asked, Viewer, range_of
from tests.dashboards.fleet.world import World

# How many are chosen of each variable (None: All), which is the first of them, and the zone of the session.
CHOICES = [(None, 0, "UTC"), (2, 1, "America/St_Johns"), (1, 2, "Asia/Kolkata")]


def _complaints(asked: Asked) -> list[str]:
    """What a panel could not show as it is meant."""
    name, declared = f"{asked.board}: {asked.what}", asked.returns
    found = []
    if [column for column, _ in asked.columns] != list(declared):
        return [f"{name}: gives {[column for column, _ in asked.columns]}, not {list(declared)}"]
    for place, (column, oid) in enumerate(asked.columns):
        if oid not in OIDS[declared[column].type]:
            found.append(f"{name}: {column} is of type {oid}, no {declared[column].type.value}")
        if not declared[column].nullable and any(row[place] is None for row in asked.rows):
            found.append(f"{name}: {column} is NULL")
    if asked.statement.form == "time_series":
        keys = [place for place, each in enumerate(declared.values()) if each.type in (Type.TIME, Type.TEXT)]
        told = [tuple(row[place] for place in keys) for row in asked.rows]
        if len(set(told)) != len(told):
            found.append(f"{name}: a series has two rows of one time")
    return found


@pytest.mark.timeout(600)
@pytest.mark.parametrize("range_", RANGES)
@pytest.mark.parametrize("board", every_board())
def test_every_query_runs_and_returns_what_its_panel_needs(world: World, board: str, range_: str) -> None:
    """All of a board, a few, one: no error, the columns and types that the panel says, times that ascend."""
    for count, turn, zone in CHOICES:
        with world.reading(zone) as connection:
            viewer = Viewer(connection, board, range_of(world, range_))
            asked = [*viewer.choose(count, turn), *viewer.ask()]
        assert [complaint for each in asked for complaint in _complaints(each)] == []
