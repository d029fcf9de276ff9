"""Fixtures for end-to-end tests: one server and one simulated driver a test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import Server, server


@pytest.fixture
def fleet_server(tmp_path: Path) -> Iterator[Server]:
    """A real server on an empty SQLite file."""
    with server(tmp_path) as it:
        yield it


@pytest.fixture(params=["sqlite", "postgresql"])
def any_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    """A real server on an empty database of each engine in turn."""
    postgresql = request.getfixturevalue("postgres_database") if request.param == "postgresql" else None
    with server(tmp_path, postgresql) as it:
        yield it
