"""A store that does not answer is a 503 with the time to ask again, on either engine; our own mistakes are not."""

import socket

import pytest
from gpufleet_server.domain.problem import Problem
from gpufleet_server.queries import fleet as totals
from gpufleet_server.queries.filters import FleetFilter
from gpufleet_server.queries.reading import reading
from gpufleet_server.store.engine import Store
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError


def test_a_table_that_is_missing(store: Store) -> None:
    """As before a migration."""
    with store.writing() as connection:
        # On PostgreSQL views are of it.
        connection.execute(text(f"DROP TABLE latest{' CASCADE' if store.dialect == 'postgresql' else ''}"))
    with pytest.raises(Problem, match="latest"), reading(store) as connection:
        totals.overview(connection, FleetFilter(), 0)
    with pytest.raises(Problem, match="latest") as refused, reading(store) as connection:
        connection.execute(text("SELECT * FROM latest"))
    assert (refused.value.status, refused.value.retry_after) == (503, 5)


def test_a_mistake_in_a_query_is_no_silent_store(store: Store) -> None:
    """Whoever wrote it is to hear of it; on SQLite it can't be told from the rest."""
    if store.dialect == "postgresql":
        with pytest.raises(DBAPIError), reading(store) as connection:
            connection.execute(text("SELECT 1 / 0"))


def test_a_database_that_is_not_there() -> None:
    """Nobody listens on its port."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        store = Store.open(f"postgresql://nobody@127.0.0.1:{unused.getsockname()[1]}/none")
        with pytest.raises(Problem, match="does not answer") as refused, reading(store):
            pass
        store.close()
    assert (refused.value.status, refused.value.retry_after) == (503, 5)


def test_a_connection_that_was_ended(store: Store) -> None:
    """One request is refused, the next one is answered."""
    if store.dialect == "sqlite":
        return
    with pytest.raises(Problem) as refused, reading(store) as connection:
        own = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
        with store.writing() as other:
            other.execute(text("SELECT pg_terminate_backend(:own, 5000)"), {"own": own})
        connection.execute(text("SELECT 1"))
    assert refused.value.status == 503
    with reading(store) as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
