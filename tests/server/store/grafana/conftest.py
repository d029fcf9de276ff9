"""A store on PostgreSQL that is filled once for the tests that only read it, and empty ones for the others."""

from collections.abc import Iterator

import pytest
from gpufleet_server.store.engine import Store

from tests.server.fixtures import NewDatabase, new_postgresql, new_sqlite, postgresql, store
from tests.server.store.grafana.filled import Filled, fill

__all__ = ["new_postgresql", "new_sqlite", "postgresql", "store"]


@pytest.fixture(scope="session")
def filled(new_postgresql: NewDatabase) -> Iterator[Filled]:
    """That store; not to be written to."""
    opened = Store.open(new_postgresql())
    yield fill(opened)
    opened.close()
