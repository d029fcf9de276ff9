"""A store and a fleet."""

from tests.server.fixtures import fleet, store

__all__ = ["fleet", "store"]
