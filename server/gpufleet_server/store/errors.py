"""What can be wrong with a store, and how the database's own errors are told."""

import contextlib
from collections.abc import Iterator

import psycopg
from sqlalchemy.exc import SQLAlchemyError

# What a database may say at any time; COPY goes around SQLAlchemy. Anything else is a fault of ours.
OF_THE_STORE = (SQLAlchemyError, psycopg.Error, OSError)
_LONGEST = 300


class StoreError(Exception):
    """A store that can't be opened or used; the message says what to change."""


@contextlib.contextmanager
def told_plainly(name: str) -> Iterator[None]:
    """StoreError, of the store of this name, for whatever the database refuses or does not answer."""
    try:
        yield
    except (SQLAlchemyError, psycopg.Error) as error:
        raise StoreError(f"can't use {name}: {cause(error)}") from error


def cause(error: BaseException) -> str:
    """What the database itself said, on one line."""
    return " ".join(str(getattr(error, "orig", None) or error).split())[:_LONGEST]
