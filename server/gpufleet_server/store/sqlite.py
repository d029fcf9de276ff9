"""SQLite: one file, WAL, each commit on disk before it is answered."""

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event

from gpufleet_server.store import functions
from gpufleet_server.store.errors import StoreError

_BUSY_MS = 5000
# 64 MiB for the writer; and a journal of up to 32 MiB before it is moved into the file, so that a page which many
# commits touch is moved once.
_WRITER_PRAGMAS = ("cache_size = -65536", "wal_autocheckpoint = 8000")
_READER_PRAGMAS = ("query_only = ON",)
# The request threads of one server process; more wait their turn.
_READERS = 16


def engines(url: URL) -> tuple[Engine, Engine]:
    """One to read with and one to write with. StoreError where the file can't be used."""
    if not url.database or url.database == ":memory:":
        raise StoreError("the store needs a file: a database in memory would lose everything at the end")
    path = Path(url.database).absolute()
    _make_private(path)
    reader = _engine(path, "BEGIN", _READERS, _READER_PRAGMAS)
    return reader, _engine(path, "BEGIN IMMEDIATE", 1, _WRITER_PRAGMAS)


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


def _engine(path: Path, begin: str, connections: int, pragmas: tuple[str, ...]) -> Engine:
    engine = create_engine(f"sqlite:///{path}", pool_size=connections, max_overflow=0, pool_timeout=30)
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
        functions.register(connection)

    return connected
