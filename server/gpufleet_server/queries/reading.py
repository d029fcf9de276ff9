"""A connection to read with; a store that does not answer is a Problem, not a crash."""

import contextlib
from collections.abc import Iterator

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, OperationalError, TimeoutError

from gpufleet_server.domain.problem import Problem
from gpufleet_server.store.engine import Store

_AGAIN_S = 5
_GONE = (psycopg.OperationalError, psycopg.InterfaceError)
# PostgreSQL's codes of a table or function that is not there: the store is not migrated, or not wholly.
_NOT_MIGRATED = frozenset({"42P01", "42883"})


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Problem 503 where the database is locked, full, gone, out of connections or without its tables."""
    try:
        yield
    except TimeoutError as error:
        raise Problem(503, f"the store does not answer: {error}", retry_after=_AGAIN_S) from error
    except psycopg.Error as error:
        # From a cursor of the driver's own.
        if not isinstance(error, _GONE) and error.sqlstate not in _NOT_MIGRATED:
            raise
        raise Problem(503, f"the store does not answer: {error}", retry_after=_AGAIN_S) from error
    except DBAPIError as error:
        if not _does_not_answer(error):
            raise
        raise Problem(503, f"the store does not answer: {error.orig}", retry_after=_AGAIN_S) from error


@contextlib.contextmanager
def reading(store: Store) -> Iterator[Connection]:
    """`store.reading()`, answering."""
    with answering(), store.reading() as connection:
        yield connection


@contextlib.contextmanager
def writing(store: Store) -> Iterator[Connection]:
    """`store.writing()`, answering."""
    with answering(), store.writing() as connection:
        yield connection


def _does_not_answer(error: DBAPIError) -> bool:
    lost = isinstance(error, OperationalError) or error.connection_invalidated
    return lost or getattr(error.orig, "sqlstate", None) in _NOT_MIGRATED
