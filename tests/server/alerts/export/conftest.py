"""A store on PostgreSQL, and a fleet to fill it."""

from tests.server.fixtures import database, fleet, new_postgresql, new_sqlite, postgresql, store

__all__ = ["database", "fleet", "new_postgresql", "new_sqlite", "postgresql", "store"]
