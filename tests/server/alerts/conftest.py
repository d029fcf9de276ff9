"""A migrated store for these tests, of each engine in turn."""

from tests.server.fixtures import database, fleet, new_postgresql, new_sqlite, postgresql, store

__all__ = ["database", "fleet", "new_postgresql", "new_sqlite", "postgresql", "store"]
