"""What every panel shows is what the agents sent: computed anew with numpy, without our tables and queries."""

import functools
import importlib
from collections.abc import Callable, Mapping

import pytest
from gpufleet_dashboards.discovery import every_board
from gpufleet_dashboards.kinds import Words

from tests.dashboards.fleet.boards import RANGES, Viewer, range_of
from tests.dashboards.fleet.rows import Rows
from tests.dashboards.fleet.sent import Sent
from tests.dashboards.fleet.world import World
from tests.dashboards.truth.seen import Seen, Truth, complaints

# How many are chosen of each variable (None: All), which is the first of them, and which node and GPU of it.
CHOICES = [(None, 0, (5, 1)), (None, 0, (1, 0)), (2, 1, None), (1, 5, None), (None, 0, (11, 3)), (None, 0, (9, 2))]


# Once for all boards.
_rows: Callable[[Sent], Rows] = functools.cache(Rows.of)


def truths(board: str) -> Mapping[str, Truth]:
    """What a board's panels have to show, by their titles."""
    found: Mapping[str, Truth] = importlib.import_module(f"tests.dashboards.truth.{board}").TRUTHS
    return found


def not_compared(board: str) -> Mapping[str, str]:
    """Panels whose values are held against nothing, each with the reason."""
    module = importlib.import_module(f"tests.dashboards.truth.{board}")
    found: Mapping[str, str] = getattr(module, "NOT_COMPARED", {})
    return found


def _node_and_gpu(world: World, place: tuple[int, int] | None) -> dict[str, str]:
    if place is None:
        return {}
    node = world.sent.nodes[place[0]]
    return {"node": node.node.id, "gpu": node.uuids[place[1]]}


@pytest.mark.parametrize("board", every_board())
def test_no_panel_is_without_a_truth(board: str) -> None:
    """Whoever adds a panel says how its values come about; titles tell panels apart."""
    titles = [panel.title for panel in every_board()[board].panels if not isinstance(panel.kind, Words)]
    assert len(set(titles)) == len(titles)
    assert sorted(titles) == sorted([*truths(board), *not_compared(board)])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("range_", RANGES)
@pytest.mark.parametrize("board", every_board())
def test_panels_show_what_agents_sent(world: World, board: str, range_: str) -> None:
    """Of a board, at each range, with all, some and one of what can be chosen."""
    found = []
    # Boards without a node are seen alike whichever it is.
    has_node = any(variable.name == "node" for variable in every_board()[board].variables)
    for count, turn, place in CHOICES if has_node else CHOICES[1:4]:
        with world.reading() as connection:
            viewer = Viewer(connection, board, range_of(world, range_))
            viewer.choose(count, turn, **_node_and_gpu(world, place))
            for asked in viewer.ask():
                if asked.what.startswith("panel ") and asked.name not in not_compared(board):
                    seen = Seen(world, _rows(world.sent), asked, viewer.range, viewer.chosen)
                    found += complaints(seen, truths(board)[asked.name](seen))
    assert found == []
