"""A database to ask statements of."""

from collections.abc import Iterator

import psycopg
import pytest

Database = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def database(postgres_server: str) -> Iterator[Database]:
    """A connection; no table is needed."""
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        yield connection
