"""The plan played into a PostgreSQL, once for all tests of a run, and a role that reads it as Grafana does."""

import contextlib
import fcntl
import pickle
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate
from gpufleet_server.store.reader import Reader, grant

from tests import postgres
from tests.dashboards.fleet.plan import AHEAD, MINUTE, Plan
from tests.dashboards.fleet.play import Play
from tests.dashboards.fleet.sent import Sent


@dataclass(frozen=True)
class World:
    """The database, as its owner and as the reader has it, and what was sent into it."""

    owner_url: str
    reader_url: str
    sent: Sent

    @property
    def end(self) -> int:
        """When the last report was made, µs: what boards take for now."""
        return self.sent.end

    @contextlib.contextmanager
    def reading(self, zone: str = "UTC") -> Iterator[psycopg.Connection[Any]]:
        """A connection as Grafana's, of a session in a time zone."""
        options = f"-c timezone={zone}"
        with psycopg.connect(self.reader_url, autocommit=True, options=options) as connection:
            yield connection


def shared(server: str, folder: Path) -> World:
    """The world of a test run, made by whoever asks first; `folder` is where the run's processes meet."""
    kept = folder / "world.pickle"
    with (folder / "world.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            kept.write_bytes(pickle.dumps(made(server, f"world_{secrets.token_hex(4)}")))
    found: World = pickle.loads(kept.read_bytes())
    return found


def made(server: str, name: str) -> World:
    """A world in a database of this name; its reader is a role of the same."""
    url = postgres.create_database(server, name)
    store, password = Store.open(url), secrets.token_hex(8)
    try:
        migrate(store)
        end = (time.time_ns() // 1000 + AHEAD) // MINUTE * MINUTE
        sent = Play(store, Plan(end)).play()
        grant(store, Reader(name), password)
        with store.writing() as connection:
            connection.exec_driver_sql("ANALYZE")
    finally:
        store.close()
    reader = urlsplit(url)
    place = f"{name}:{password}@{reader.hostname}:{reader.port}"
    return World(url, reader._replace(netloc=place).geturl(), sent)
