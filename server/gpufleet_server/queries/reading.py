"""A connection to read with; a store that does not answer is a Problem, not a crash."""

import contextlib
from collections.abc import Iterator

from sqlalchemy import Connection
from sqlalchemy.exc import OperationalError, TimeoutError

from gpufleet_server.domain.problem import Problem
from gpufleet_server.store.engine import Store


@contextlib.contextmanager
def reading(store: Store) -> Iterator[Connection]:
    """`store.reading()`, with Problem 503 where the database is locked, full, gone or out of connections."""
    try:
        with store.reading() as connection:
            yield connection
    except (OperationalError, TimeoutError) as error:
        raise _unavailable(error) from error


@contextlib.contextmanager
def writing(store: Store) -> Iterator[Connection]:
    """`store.writing()` with the same Problem."""
    try:
        with store.writing() as connection:
            yield connection
    except (OperationalError, TimeoutError) as error:
        raise _unavailable(error) from error


def _unavailable(error: OperationalError | TimeoutError) -> Problem:
    cause = error.orig if isinstance(error, OperationalError) else error
    return Problem(503, f"the store does not answer: {cause}", retry_after=5)
