"""A real store for the agents' tests."""

from tests.server.fixtures import embedded_store, new_sqlite

__all__ = ["embedded_store", "new_sqlite"]
