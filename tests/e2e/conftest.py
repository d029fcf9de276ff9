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
