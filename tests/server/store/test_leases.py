"""What a reader of the store may lock, and for how long it reads: no server waits for it."""

import contextlib
import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from alembic import command
from alembic.config import Config
from gpufleet_server.store import migrate as migrating
from gpufleet_server.store import partitions
from gpufleet_server.store.engine import Store
from gpufleet_server.store.errors import StoreError
from gpufleet_server.store.grafana.discovery import every_view
from gpufleet_server.store.leases import ALERTS, NAMES, ROLLUPS, UPKEEP, USAGE, alone, leases
from gpufleet_server.store.migrate import migrate, migrated, upgrade
from gpufleet_server.store.reader import Reader, grant
from gpufleet_server.store.rollups import roll_days
from gpufleet_server.store.tiers import DAILY, DAY, recent
from gpufleet_server.store.upkeep import Upkeep, run_once
from gpufleet_server.store.views import take_down
from sqlalchemy import Connection, delete, select, text
from sqlalchemy.exc import OperationalError

from tests.server.fixtures import NewDatabase
from tests.server.fleet import Fleet
from tests.server.store.sampled import MIDNIGHT, add, gpu, held, hours

Session = psycopg.Connection[Any]
# By these servers of before took turns.
_FORMER = ("alerts", "upkeep", "rollups", "usage", "migrate")


@pytest.fixture
def url(new_postgresql: NewDatabase) -> str:
    """A migrated database."""
    return new_postgresql()


@pytest.fixture
def store(url: str) -> Iterator[Store]:
    """It, as a server that gives up on a lock instead of waiting for ever."""
    with contextlib.closing(Store.open(f"{url}?options=-c%20lock_timeout%3D5s")) as opened:
        yield opened


@pytest.fixture
def fleet(store: Store) -> Fleet:
    """Fills it."""
    return Fleet(store)


@pytest.fixture
def reader(url: str, store: Store) -> Iterator[Session]:
    """A session of Grafana's role that has set for itself whatever it may."""
    role = f"reader_{secrets.token_hex(4)}"
    grant(store, Reader(role), "secret")
    parts = urlsplit(url)
    place = parts._replace(netloc=f"{role}:secret@{parts.hostname}:{parts.port}").geturl()
    with psycopg.connect(place, autocommit=True) as session:
        for name in ("statement_timeout", "idle_in_transaction_session_timeout", "default_transaction_read_only"):
            session.execute(f"SET {name} = 0".encode())
        yield session
    with store.writing() as connection:
        connection.execute(text(f"DROP OWNED BY {role}"))
        connection.execute(text(f"DROP ROLE {role}"))


def _hold_advisory(session: Session) -> None:
    for name in _FORMER:
        session.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0))", (f"gpufleet {name}",))


def _read_on(session: Session) -> None:
    """Hold every view, and so what is below it, in a transaction without end."""
    session.execute("BEGIN")
    for view in every_view().values():
        session.execute(f"LOCK TABLE {view} IN ACCESS SHARE MODE".encode())


def test_advisory_locks_stop_no_server(store: Store, fleet: Fleet, reader: Session) -> None:
    """It is elected, seals, rolls up, folds and starts, whoever holds those by which servers of before took turns."""
    node_id = fleet.node("alpha")
    fleet.gpu(node_id, "GPU-1")
    add(store, *gpu(node_id, 0, [(MIDNIGHT + hours(n) + 1, n) for n in range(3)]))
    _hold_advisory(reader)
    for name in (ALERTS, UPKEEP):
        with contextlib.closing(store.election(name)) as election:
            assert election.won()
    assert run_once(store, MIDNIGHT + 2 * DAY).sealed.hours == 3
    assert len(held(store, DAILY)) == 1
    migrate(store)


@pytest.mark.parametrize("table", ["leases", "alembic_version"])
def test_a_reader_locks_neither_of_the_tables_of_turns(reader: Session, table: str) -> None:
    """Nor does it read or write them. VACUUM passes over what is not its own, with a warning."""
    reader.execute("SET lock_timeout = '1s'")
    for statement in (
        "SELECT * FROM {} FOR UPDATE", "SELECT * FROM {} FOR KEY SHARE", "DELETE FROM {}", "TRUNCATE {}",
        "LOCK TABLE {} IN ACCESS SHARE MODE", "LOCK TABLE {} IN ROW EXCLUSIVE MODE", "CREATE INDEX ON {} (ctid)",
    ):  # fmt: skip
        with pytest.raises(psycopg.errors.InsufficientPrivilege), reader.transaction():
            reader.execute(statement.format(table).encode())
    notices: list[str] = []
    reader.add_notice_handler(lambda notice: notices.append(str(notice.message_primary)))
    for statement in ("VACUUM FULL {}", "ANALYZE {}"):
        reader.execute(statement.format(table).encode())
    # Versions say it in words of their own.
    assert [f'"{table}"' in notice for notice in notices] == [True, True], notices


def test_a_long_reader_keeps_no_server_from_starting(
    store: Store, reader: Session, caplog: pytest.LogCaptureFixture
) -> None:
    """Partitions that it keeps from being made are made later, by upkeep; they are tried, and it is told, once."""
    upkeep = Upkeep(store)
    upkeep.prepare()
    with store.writing() as connection:
        newest = partitions.listing(connection, recent)[-1]
        partitions.drop(connection, newest.name)
    _read_on(reader)
    migrate(store)
    upkeep.prepare()
    assert caplog.text.count("partitions of now are not made yet: canceling statement due to lock timeout") == 1
    reader.execute("ROLLBACK")
    upkeep.prepare()
    with store.reading() as connection:
        assert newest in partitions.listing(connection, recent)


def _downgrade(connection: Connection) -> None:
    """Take back the last revision."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", "gpufleet_server.store:migrations")
    config.set_main_option("path_separator", "os")
    command.downgrade(config, "-1")


def test_an_upgrade_does_not_wait_for_ever(store: Store, reader: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says who is in the way, and leaves all as it was; readers are the same after it."""
    with store.writing() as connection:
        readers = take_down(connection)["grafana.gpus"]
        _downgrade(connection)
        connection.execute(text("CREATE VIEW grafana.gpus AS SELECT * FROM gpus"))
        connection.execute(text(f"GRANT SELECT ON grafana.gpus TO {', '.join(readers)}"))
    reader.execute("BEGIN; LOCK TABLE grafana.gpus IN ACCESS SHARE MODE")
    monkeypatch.setattr(migrating, "_READERS_S", 1)
    with pytest.raises(StoreError, match=r"others have read for more than 1 s .*pg_stat_activity"):
        migrate(store)
    assert reader.execute("SELECT count(*) FROM grafana.gpus").fetchone() == (0,)
    reader.execute("ROLLBACK")
    migrate(store)
    assert reader.execute("SELECT count(*) FROM grafana.gpus").fetchone() == (0,)


@pytest.mark.parametrize("before", [None, "0001", "0008"])
def test_servers_that_start_together_all_come_up(postgres_database: str, before: str | None) -> None:
    """On a new database and on an old one, and whoever has an advisory lock there: one migrates, the others find it."""
    stores = [Store.open(postgres_database) for _ in range(4)]
    if before:
        with stores[0].writing() as connection:
            upgrade(connection, before)
    with psycopg.connect(postgres_database, autocommit=True) as anybody, ThreadPoolExecutor() as servers:
        _hold_advisory(anybody)
        for done in [servers.submit(migrate, each) for each in stores]:
            done.result(60)
    with stores[0].reading() as connection:
        assert migrated(connection)
        assert connection.execute(select(leases.c.name)).scalars().all() == [*NAMES]
    for each in stores:
        each.close()


def test_what_one_has_alone_others_wait_for(store: Store) -> None:
    """Until its transaction ends; what is of another name is somebody else's."""
    with store.writing() as one:
        alone(one, ROLLUPS)
        with store.writing() as other:
            alone(other, USAGE)
            other.execute(text("SET LOCAL lock_timeout = '100ms'"))
            with pytest.raises(OperationalError, match="lock timeout"):
                alone(other, ROLLUPS)
            other.rollback()
    with store.writing() as other:
        alone(other, ROLLUPS)


def test_a_row_that_is_missing_is_no_lock(store: Store) -> None:
    """Work that must be done alone is not done then."""
    with store.writing() as connection:
        connection.execute(delete(leases))
    with pytest.raises(StoreError, match="no row 'rollups'"):
        roll_days(store, MIDNIGHT)
