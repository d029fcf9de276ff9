"""Brings a store to the schema of this version, and gives every metric of the catalogue its columns."""

import contextlib
import functools
from collections.abc import Iterable, Iterator

import psycopg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from gpufleet_agent.catalogue import EVERY_SAMPLE, ON_CHANGE, Metric
from sqlalchemy import Column, Connection, LargeBinary, Table, inspect, text
from sqlalchemy.exc import IntegrityError, OperationalError

from gpufleet_server.store import functions, postgres, views
from gpufleet_server.store.engine import Store
from gpufleet_server.store.errors import StoreError, told_plainly
from gpufleet_server.store.grafana import statistics
from gpufleet_server.store.latest_states import latest_states
from gpufleet_server.store.tiers import (
    TIERS,
    fleet_hours,
    fleet_minutes,
    fleet_six_hours,
    fleet_ten_minutes,
    group_columns,
    latest,
    recent,
)

_PACKED = (recent, latest, *(tier.table for tier in TIERS))
# As Alembic makes it.
_VERSION_TABLE = (
    "CREATE TABLE IF NOT EXISTS alembic_version "
    "(version_num VARCHAR(32) NOT NULL, CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
)
# Longer than what Grafana's role has for a statement, and may leave a transaction open for.
_READERS_S = 100


def migrate(store: Store) -> None:
    """Apply what is missing, all or nothing. Partitions of now are made by the server that starts on it.

    StoreError where a newer gpufleet has written the store, where PostgreSQL is too old, can't be connected to, or
    does not let this role do it, and where others read for very long what has to be changed.
    """
    with told_plainly(store.name), _told_of_readers(store.name), store.writing() as connection:
        _migrate(connection)


def begin(store: Store) -> None:
    """Make the schema where there is none yet; StoreError where the store has another one than this version's."""
    with told_plainly(store.name), store.reading() as connection:
        empty = _current(connection) is None
    (migrate if empty else check)(store)


def check(store: Store) -> None:
    """StoreError unless the store has this version's schema, or can't be read. Nothing is changed."""
    with told_plainly(store.name), store.reading() as connection:
        current = _current(connection)
    _check_known(current)
    if current != _head():
        state = "holds no fleet yet" if current is None else "is of an older gpufleet, and there is no way back"
        raise StoreError(f"{store.name} {state}; `gpufleet db migrate` brings it to this version's schema")


def _migrate(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        _check_version(connection)
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        _wait_for_others(connection)
        connection.execute(text(f"SET LOCAL lock_timeout = '{_READERS_S}s'"))
    _check_known(_current(connection))
    old = connection.dialect.name == "postgresql" and not migrated(connection)
    readers = views.take_down(connection) if old else {}
    upgrade(connection)
    add_metric_columns(connection, EVERY_SAMPLE)
    _add_columns(connection, latest_states, [Column(metric.name, LargeBinary()) for metric in ON_CHANGE])
    if connection.dialect.name == "postgresql":
        for statement in functions.POSTGRESQL:
            connection.exec_driver_sql(statement)
        views.refresh(connection, readers)
        statistics.gather(connection)


def _wait_for_others(connection: Connection) -> None:
    """Have the schema to oneself until the transaction ends: several servers may start at once.

    By the table that only its owner can lock. Who makes it has it; who is at it meanwhile waits, and is told then.
    """
    if connection.execute(text("SELECT to_regclass('alembic_version')")).scalar() is None:
        with contextlib.suppress(IntegrityError), connection.begin_nested():
            connection.exec_driver_sql(_VERSION_TABLE)
    # Servers that are at work go on reading it.
    connection.execute(text("LOCK TABLE alembic_version IN EXCLUSIVE MODE"))


@contextlib.contextmanager
def _told_of_readers(name: str) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise
        raise StoreError(
            f"others have read for more than {_READERS_S} s what this version has to change in {name}; nothing was "
            "changed. pg_stat_activity shows who they are: end their transactions, and try again"
        ) from error


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Run the migrations up to one of them, in the connection's transaction."""
    command.upgrade(_config(connection), revision)


def migrated(connection: Connection) -> bool:
    """Whether the store has the schema of this version."""
    return _current(connection) == _head()


def add_metric_columns(connection: Connection, metrics: Iterable[Metric]) -> None:
    """Give each table of metrics its columns for metrics that have none. Those of metrics no longer known stay."""
    wanted = list(metrics)
    for table in _PACKED:
        _add_columns(connection, table, [Column(metric.name, LargeBinary()) for metric in wanted])
    for table in (fleet_minutes, fleet_ten_minutes, fleet_hours, fleet_six_hours):
        _add_columns(connection, table, [column for metric in wanted for column in group_columns(metric)])


def _add_columns(connection: Connection, table: Table, wanted: Iterable[Column[object]]) -> None:
    there = {column["name"] for column in inspect(connection).get_columns(table.name)}
    operations = Operations(MigrationContext.configure(connection))
    for column in wanted:
        if column.name not in there:
            operations.add_column(table.name, column)


def _check_known(current: str | None) -> None:
    if current is not None and current not in _revisions():
        raise StoreError(f"the store is of a newer gpufleet (revision {current}); upgrade this one")


def _check_version(connection: Connection) -> None:
    version = int((connection.dialect.server_version_info or (0,))[0])
    if version < postgres.OLDEST:
        raise StoreError(f"PostgreSQL {version} is too old; gpufleet needs {postgres.OLDEST} or newer")


@functools.cache
def _head() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "gpufleet_server.store:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _revisions() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
