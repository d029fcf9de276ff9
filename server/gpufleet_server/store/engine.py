"""The store: an engine, and every connection to it."""

import contextlib
import re
import threading
from collections.abc import Iterator
from typing import Protocol, Self

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError

from gpufleet_server.store import election, postgres, sqlite
from gpufleet_server.store.errors import StoreError

# What libpq takes behind a `?` and is nobody's business.
_SECRET = ("password", "sslpassword")
_EXAMPLES = "sqlite:////path/to/fleet.db or postgresql://user@host/database"


class Election(Protocol):
    """Who of several servers does what only one of them may do."""

    def won(self) -> bool:
        """Whether that is this one, now."""

    def close(self) -> None:
        """Leave it to others."""


class Store:
    """One database. On SQLite many read while one writes; on PostgreSQL many do both."""

    def __init__(self, url: URL, reader: Engine, writer: Engine) -> None:
        self._url, self._reader, self._writer = url, reader, writer
        self._lock = threading.Lock() if self.dialect == "sqlite" else contextlib.nullcontext()

    @classmethod
    def open(cls, url: str) -> Self:
        """The store at a URL such as `sqlite:////var/lib/gpufleet/fleet.db` or `postgresql://user@host/database`.

        An SQLite file is made when missing; PostgreSQL is not connected to yet. StoreError where the URL is not
        understood, names another engine, or the file can't be used.
        """
        try:
            parsed = make_url(url)
        except (ArgumentError, ValueError):
            # A port that is no number is a ValueError. Up to the last `@` it may be a password.
            shown = re.sub("://([^:@/]*):.*@", r"://\1:***@", url)
            raise StoreError(f"{shown!r} is no database URL; one looks like {_EXAMPLES}") from None
        name = parsed.get_backend_name()
        if name not in ("sqlite", "postgresql"):
            raise StoreError(f"{name} is not supported; use {_EXAMPLES}")
        return cls(parsed, *(sqlite if name == "sqlite" else postgres).engines(parsed))

    @property
    def name(self) -> str:
        """Its URL, with stars for a password."""
        return self._url.difference_update_query(_SECRET).render_as_string(hide_password=True)

    @property
    def dialect(self) -> str:
        """`sqlite` or `postgresql`."""
        return self._writer.dialect.name

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one moment of the store and can't change it. From any thread."""
        with self._reader.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction: committed on success, rolled back on an error. From any thread; on SQLite one at a time."""
        # SQLite's own lock would make a second writer sleep and try again.
        with self._lock, self._writer.begin() as connection:
            yield connection

    def election(self, name: str) -> Election:
        """An election among the servers on this database, by a name of `leases`. SQLite has one server, which wins."""
        return _Alone() if self.dialect == "sqlite" else election.Election(self._writer, name)

    def close(self) -> None:
        """Close every connection."""
        self._reader.dispose()
        self._writer.dispose()


class _Alone:
    def won(self) -> bool:
        """Nobody else stands."""
        return True

    def close(self) -> None:
        """There is nobody to leave it to."""


__all__ = ["Election", "Store", "StoreError"]
