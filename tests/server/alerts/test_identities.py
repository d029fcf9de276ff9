"""Numbers of identities: read once, and again where a node sends another roster."""

import numpy as np
import pytest
from gpufleet_server.alerts.identities import NUMBERS, Identities
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import gpus, nodes
from sqlalchemy import select, update

from tests.server.alerts.player import Player
from tests.server.alerts.scenario import NodeOf, Scenario


@pytest.fixture
def gpu_ids(store: Store) -> list[int]:
    """The GPUs of a fleet of two nodes."""
    given = Scenario(about="", length="15s", rule="gpu_lost", nodes=[NodeOf(name="a"), NodeOf(name="b")])
    Player(store, given).play()
    with store.reading() as connection:
        return list(connection.execute(select(gpus.c.gpu_id).order_by(gpus.c.gpu_id)).scalars())


def test_every_number_is_read_as_sql_reads_it(store: Store, gpu_ids: list[int]) -> None:
    """From the same JSON; of a GPU that nobody knows nothing is known."""
    with store.reading() as connection:
        found = Identities().of(connection, np.array([*gpu_ids, 999]), NUMBERS)
        for name, number in NUMBERS.items():
            query = select(number.sql(gpus.c.identity)).order_by(gpus.c.gpu_id)
            told = list(connection.execute(query).scalars())
            known = found[name].known.tolist()
            assert [*(value is not None for value in told), False] == known, name
            assert [value for value in told if value is not None] == found[name].data[known].tolist(), name
    assert found["ecc_enabled"].data[0] == 1


def test_another_roster_is_read_again(store: Store, gpu_ids: list[int]) -> None:
    """Of its node only; what is told without one is not looked at."""
    identities, ids = Identities(), np.array(gpu_ids)
    with store.reading() as connection:
        assert identities.of(connection, ids, ["pcie_width_max"])["pcie_width_max"].data.tolist() == [16] * 4
    with store.writing() as connection:
        connection.execute(update(gpus).values(identity={"pcie_width_max": 8}))
    with store.reading() as connection:
        assert identities.of(connection, ids, ["pcie_width_max"])["pcie_width_max"].data.tolist() == [16] * 4
    with store.writing() as connection:
        connection.execute(update(nodes).where(nodes.c.hostname == "b").values(roster_digest="another"))
    with store.reading() as connection:
        assert identities.of(connection, ids, ["pcie_width_max"])["pcie_width_max"].data.tolist() == [16, 16, 8, 8]
