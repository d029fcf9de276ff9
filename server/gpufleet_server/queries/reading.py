"""A connection to read with; a store that does not answer is a Problem, not a crash."""

import contextlib
from collections.abc import Iterator

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError, TimeoutError

from gpufleet_server.domain.problem import Problem
from gpufleet_server.store.engine import Store


@contextlib.contextmanager
def answering() -> Iterator[None]:
    """Problem 503 where the database is locked, full, gone or out of connections."""
    try:
        yield
    except (OperationalError, TimeoutError) as error:
        cause = error.orig if isinstance(error, OperationalError) else error
        raise Problem(503, f"the store does not answer: {cause}", retry_after=5) from error


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
