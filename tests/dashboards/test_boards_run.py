"""Every query of every board, asked as Grafana asks it of a real PostgreSQL, by the reader alone."""

import itertools

import pytest
from gpufleet_dashboards.discovery import every_board
from gpufleet_dashboards.query import Type

from tests.dashboards.fleet.boards import OIDS, RANGES, Asked, Viewer, range_of
from tests.dashboards.fleet.world import World
from tests.dashboards.test_boards_truth import not_compared

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


# What this fleet has nothing to show in, and why.
_EMPTY = {
    ("gpu", "Other shares"): "no model of the simulator has such a metric",
    ("gpufleet", "Backlogs"): "no agent lags behind",
}


@pytest.mark.timeout(600)
@pytest.mark.parametrize("board", every_board())
def test_every_panel_shows_something(world: World, board: str) -> None:
    """Some value in some range, of GPUs that are partitioned, lost, idle or well; but for what says why not."""
    shown = set()
    with world.reading() as connection:
        for range_, (node, gpu) in itertools.product(RANGES, ((5, 1), (1, 0), (0, 2), (9, 0))):
            viewer = Viewer(connection, board, range_of(world, range_))
            told = world.sent.nodes[node]
            menus = viewer.choose(None, node=told.node.id, gpu=told.uuids[gpu])
            shown |= {asked.what for asked in (*menus, *viewer.ask()) if _has_value(asked)}
    empty = {what for what, _ in every_board()[board].queries} - shown
    known = {f"panel {panel}" for of, panel in _EMPTY if of == board} | {
        f"panel {each}" for each in not_compared(board)
    }
    assert empty <= known


def _has_value(asked: Asked) -> bool:
    types = [column.type for column in asked.returns.values()]
    return any(
        value is not None for row in asked.rows for value, of in zip(row, types, strict=True) if of is not Type.TIME
    )
