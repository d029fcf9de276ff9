"""Which errors are the store's, which the report's, and how an agent is asked to come again."""

import random
import sqlite3

import psycopg
from sqlalchemy import exc

from gpufleet_server.domain.problem import Problem

# What COPY tells comes from the driver as it is, the rest through SQLAlchemy.
STORE_FAILED = (
    *(exc.OperationalError, exc.InterfaceError, exc.TimeoutError, exc.InternalError),
    # Internal are: a standby, which can only be read; a transaction that stood still for too long; damaged data.
    *(psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError, sqlite3.OperationalError),
)
# The database refuses what the report says, and will each time: an agent that sent it again would never get on.
OF_THE_DATA = (
    *(exc.IntegrityError, exc.DataError, psycopg.IntegrityError, psycopg.DataError),
    *(OverflowError, UnicodeError),
)
# Agents that are turned away together must not come back together, s.
_SOONEST, _LATEST = 5, 15


def unavailable(problem: str) -> Problem:
    """A 503 that says when to come again."""
    return Problem(503, problem, retry_after=random.randint(_SOONEST, _LATEST))  # noqa: S311


def cause(error: BaseException) -> str:
    """What the database itself said."""
    return str(error.orig if isinstance(error, exc.DBAPIError) else error)[:200]
