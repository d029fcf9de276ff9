"""A migrated store for these tests."""

from tests.server.fixtures import store

__all__ = ["store"]
