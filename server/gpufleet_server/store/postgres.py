"""PostgreSQL: how it is connected to."""

from sqlalchemy import URL, Engine, create_engine

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
