"""PostgreSQL: how it is connected to, and the lock by which servers elect one of them."""

import logging

from sqlalchemy import URL, Connection, Engine, create_engine, text
from sqlalchemy.exc import SQLAlchemyError

_LOG = logging.getLogger(__name__)

OLDEST = 15
# A connection that leads nowhere is noticed within about half a minute, by both sides.
_ALIVE = {
    "connect_timeout": 5,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_SAME = "-c timezone=UTC -c jit=off -c client_connection_check_interval=10s -c idle_in_transaction_session_timeout=60s"
_READERS, _WRITERS = 16, 6


def engines(url: URL) -> tuple[Engine, Engine]:
    """One to read with and one to write with; neither is connected yet."""
    psycopg = url.set(drivername="postgresql+psycopg")
    reader = _engine(psycopg, _READERS, "gpufleet reads", "-c statement_timeout=30s")
    reader = reader.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
    # Whatever the database's own default: writers wait for each other's rows, and go on with what they then find.
    writes = r"-c statement_timeout=120s -c default_transaction_isolation=read\ committed"
    return reader, _engine(psycopg, _WRITERS, "gpufleet writes", writes)


def _engine(url: URL, connections: int, name: str, options: str) -> Engine:
    given = _ALIVE | {"application_name": name, "options": f"{_SAME} {options}"}
    # What the URL says itself goes first, but for `options`, which add up.
    if "options" in url.query:
        given["options"] = f"{given['options']} {url.query['options']}"
    given = {key: value for key, value in given.items() if key == "options" or key not in url.query}
    url = url.difference_update_query(["options"])
    return create_engine(
        url, pool_size=connections, max_overflow=0, pool_timeout=10, pool_pre_ping=True, connect_args=given
    )


class Election:
    """A session's advisory lock, held on a connection of its own: whoever has it does the work of all."""

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine, self._name = engine, name
        self._held: Connection | None = None

    def won(self) -> bool:
        """Whether this one has the lock now; it is taken when it is free. False where the database is gone, or busy."""
        try:
            if self._held is not None:
                self._held.execute(text("SELECT 1"))
                return True
            return self._try()
        except SQLAlchemyError as error:
            # Also where all connections are taken: many nodes may enrol at once.
            _LOG.info("no election for %s: %s", self._name, getattr(error, "orig", error))
            self.close()
            return False

    def close(self) -> None:
        """Leave the lock to others."""
        held, self._held = self._held, None
        if held is not None:
            # Not given back to the pool: the lock is the session's and ends with it.
            held.invalidate()
            held.close()

    def _try(self) -> bool:
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        query = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
        if connection.execute(query, {"name": f"gpufleet {self._name}"}).scalar_one():
            self._held = connection
            return True
        connection.close()
        return False
