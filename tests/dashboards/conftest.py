"""A simulated fleet that boards are asked about."""

import os

import pytest

from tests.dashboards.fleet import world as worlds
from tests.dashboards.fleet.world import World


@pytest.fixture(scope="session")
def world(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> World:
    """The fleet in its database: made once, for all workers; nobody changes it."""
    folder = tmp_path_factory.getbasetemp()
    return worlds.shared(postgres_server, folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder)
