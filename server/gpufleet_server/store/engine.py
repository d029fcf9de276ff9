"""The engine and every connection. SQLite today: one file, WAL, each commit on disk before it is answered."""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError

_BUSY_MS = 5000
# 64 MiB for the writer, which touches the newest page of every GPU; and a journal of up to 32 MiB before it is
# moved into the file, so that a page which many commits touch is moved once.
_WRITER_PRAGMAS = ("cache_size = -65536", "wal_autocheckpoint = 8000")
_READER_PRAGMAS = ("query_only = ON",)
# The request threads of one server process; more wait their turn.
_READERS = 16


class StoreError(Exception):
    """A store that can't be opened; the message says what to change."""


class Store:
    """One database: many readers, one writer at a time."""

    def __init__(self, reader: Engine, writer: Engine) -> None:
        self._reader, self._writer = reader, writer
        self._lock = threading.Lock()

    @classmethod
    def open(cls, url: str) -> Self:
        """The store at a URL such as `sqlite:////var/lib/gpufleet/fleet.db`; the file is made when missing.

        StoreError where the URL is not understood, names another engine, or the file can't be used.
        """
        path = _sqlite_path(url)
        _make_private(path)
        target = f"sqlite:///{path}"
        reader = _engine(target, "BEGIN", _READERS, _READER_PRAGMAS)
        return cls(reader, _engine(target, "BEGIN IMMEDIATE", 1, _WRITER_PRAGMAS))

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one moment of the store and can't change it. From any thread."""
        with self._reader.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that alone may write: committed on success, rolled back on an error. From any thread."""
        # SQLite's own lock would make a second writer sleep and try again.
        with self._lock, self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._reader.dispose()
        self._writer.dispose()


def _sqlite_path(url: str) -> Path:
    try:
        parsed = make_url(url)
    except ArgumentError:
        raise StoreError(f"{url!r} is no database URL; one looks like sqlite:////path/to/fleet.db") from None
    name = parsed.get_backend_name()
    if name != "sqlite":
        raise StoreError(f"{name} is not supported yet; use SQLite, such as sqlite:////path/to/fleet.db")
    if not parsed.database or parsed.database == ":memory:":
        raise StoreError("the store needs a file: a database in memory would lose everything at the end")
    return Path(parsed.database).absolute()


def _make_private(path: Path) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        with path.open("rb") as file:
            head = file.read(16)
    except OSError as error:
        raise StoreError(f"can't use {path}: {error.strerror}") from error
    if head and head != b"SQLite format 3\0":
        raise StoreError(f"can't use {path}: it is not an SQLite database")


def _engine(url: str, begin: str, connections: int, pragmas: tuple[str, ...]) -> Engine:
    engine = create_engine(url, pool_size=connections, max_overflow=0, pool_timeout=30)
    same = (f"busy_timeout = {_BUSY_MS}", "journal_mode = WAL", "synchronous = FULL", "foreign_keys = OFF")
    event.listen(engine, "connect", _connected((*same, *pragmas)))
    event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _connected(pragmas: tuple[str, ...]) -> Callable[[sqlite3.Connection, Any], None]:
    def connected(connection: sqlite3.Connection, _record: Any) -> None:
        # The driver would begin transactions by its own rules; the engine's "begin" does it instead.
        connection.isolation_level = None
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    return connected
