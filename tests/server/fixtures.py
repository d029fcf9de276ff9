"""A store in a temporary folder, empty and migrated, and a fleet to fill it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate

from tests.server.fleet import Fleet


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A migrated store."""
    opened = Store.open(f"sqlite:///{tmp_path}/fleet.db")
    migrate(opened)
    yield opened
    opened.close()


@pytest.fixture
def fleet(store: Store) -> Fleet:
    """Fills that store."""
    return Fleet(store)
