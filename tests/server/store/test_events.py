"""Events are stored with their place: as it was when they came."""

import pytest
from gpufleet_server.store.engine import Store
from gpufleet_server.store.events import insert_events
from gpufleet_server.store.schema import events, nodes
from gpufleet_server.store.usage import usage_places
from sqlalchemy import select, update

from tests.server.fleet import NOW, Fleet


def _come(store: Store, *subjects: tuple[int, int | None]) -> None:
    told = {"ts": NOW, "received_at": NOW, "kind": "xid", "source": "nvml", "detail": {}}
    with store.writing() as connection:
        insert_events(connection, [told | {"node_id": node, "gpu_id": gpu} for node, gpu in subjects])


def _places(store: Store) -> list[tuple[str, str, bool]]:
    c = usage_places.c
    query = select(c.site, c.model, c.simulated).join_from(events, usage_places, events.c.place_id == c.place_id)
    with store.reading() as connection:
        return [tuple(row) for row in connection.execute(query.order_by(events.c.event_id))]


@pytest.fixture
def fleet(store: Store) -> Fleet:
    """A node with a site and one without."""
    found = Fleet(store)
    found.node("alpha", site="east"), found.node("beta", simulated=True)
    found.gpu(1, "GPU-1", model="H100"), found.gpu(2, "GPU-2", model=None)
    return found


def test_of_a_gpu_and_of_a_node(store: Store, fleet: Fleet) -> None:
    """Site and model, '' where there is none; a node has no model."""
    _come(store, (1, 1), (1, None), (2, 2), (1, 1))
    of_gpu = ("east", "H100", False)
    assert _places(store) == [of_gpu, ("east", "", False), ("", "", True), of_gpu]


def test_a_node_that_moves_takes_none_along(store: Store, fleet: Fleet) -> None:
    """What happened at its former site stays there, as its rollups do."""
    _come(store, (1, 1))
    with store.writing() as connection:
        connection.execute(update(nodes).where(nodes.c.node_id == 1).values(site="west"))
    _come(store, (1, 1))
    assert _places(store) == [("east", "H100", False), ("west", "H100", False)]


def test_very_many_at_once(store: Store, fleet: Fleet) -> None:
    """More than a statement takes values."""
    _come(store, *[(1, 1)] * 12_000, (1, None))
    assert len(_places(store)) == 12_001
