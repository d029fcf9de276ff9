"""A store, and somebody to be told."""

from collections.abc import Iterator

import pytest

from tests.server.alerts.delivery.hook import Hook, hook
from tests.server.fixtures import database, new_postgresql, new_sqlite, postgresql, store

__all__ = ["database", "new_postgresql", "new_sqlite", "postgresql", "store"]


@pytest.fixture(name="hook")
def answering() -> Iterator[Hook]:
    """An HTTP server that takes all."""
    with hook() as it:
        yield it
