"""A store in a temporary folder, empty and migrated, and a fleet to fill it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate

from tests.server.fleet import Fleet


@pytest.fixture
def store(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> Iterator[Store]:
    """A migrated store."""
    migrated, path = tmp_path_factory.getbasetemp() / "migrated.db", tmp_path / "fleet.db"
    if not migrated.exists():
        _migrate(migrated)
    shutil.copyfile(migrated, path)
    opened = Store.open(f"sqlite:///{path}")
    yield opened
    opened.close()


def _migrate(path: Path) -> None:
    """Once for all tests: it takes longer than most of them."""
    opened = Store.open(f"sqlite:///{path}")
    migrate(opened)
    # The last connection to go writes the log back into the file.
    opened.close()


@pytest.fixture
def fleet(store: Store) -> Fleet:
    """Fills that store."""
    return Fleet(store)
