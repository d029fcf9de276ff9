"""Who waits for whose locks in PostgreSQL."""

import time
from collections.abc import Callable

from gpufleet_server.store.engine import Store
from sqlalchemy import text

_WAITING = text("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")


def somebody_waits(store: Store) -> bool:
    """Whether somebody in this database waits for another one's lock."""
    with store.reading() as connection:
        return bool(connection.execute(_WAITING).scalar_one())


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until something holds; it has a minute."""
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)
