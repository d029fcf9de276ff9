"""A real store for the agents' tests."""

from tests.server.fixtures import store

__all__ = ["store"]
