"""A migrated store for these tests, and a fleet to fill it."""

from tests.server.fixtures import fleet, store

__all__ = ["fleet", "store"]
