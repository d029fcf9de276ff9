"""The role that Grafana reads with: all views, and nothing else, whatever it sets for itself."""

import contextlib
import secrets
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlsplit

import psycopg
import pytest
from gpufleet_server.store import views
from gpufleet_server.store.engine import Store
from gpufleet_server.store.errors import StoreError
from gpufleet_server.store.grafana.discovery import every_view
from gpufleet_server.store.grafana.views import gpus, places
from gpufleet_server.store.reader import Granted, Reader, grant, revoke, script, there
from sqlalchemy import text

from tests.server.fixtures import NewDatabase
from tests.server.fleet import Fleet

# It needs quotes, and so does its password.
_PASSWORD = 'it\'s \\ a %s "secret"'
_TABLES = ("events", "gpus", "holders")


@pytest.fixture
def url(new_postgresql: NewDatabase) -> str:
    """A migrated database."""
    return new_postgresql()


@pytest.fixture
def opened(url: str) -> Iterator[Store]:
    """It, opened by its owner."""
    store = Store.open(url)
    yield store
    store.close()


@pytest.fixture
def role(opened: Store) -> Iterator[str]:
    """The name of a role that there is not, and is not left either."""
    name = f'Reader "{secrets.token_hex(4)}"'
    yield name
    _run(opened, f"DROP OWNED BY {_quoted(name)}", f"DROP ROLE {_quoted(name)}") if there(opened, name) else None


def _quoted(role: str) -> str:
    return '"{}"'.format(role.replace('"', '""'))


def _run(store: Store, *statements: str) -> None:
    with store.writing() as connection:
        for statement in statements:
            connection.execute(text(statement))


def _connect(url: str, role: str) -> psycopg.Connection[Any]:
    parts = urlsplit(url)
    place = f"{quote(role, safe='')}:{quote(_PASSWORD, safe='')}@{parts.hostname}:{parts.port}"
    return psycopg.connect(parts._replace(netloc=place).geturl(), autocommit=True)


def _need_maintain(store: Store) -> None:
    with store.reading() as connection:
        if int((connection.dialect.server_version_info or (0,))[0]) < 17:
            pytest.skip("PostgreSQL 17 and newer have it")


def _may(connection: psycopg.Connection[Any], statement: str) -> bool:
    try:
        connection.execute(statement.encode())
    except psycopg.errors.InsufficientPrivilege:
        return False
    return True


def test_it_reads_every_view(opened: Store, url: str, role: str) -> None:
    """With its password; whoever makes it twice changes nothing, and may change the password."""
    Fleet(opened).gpu(Fleet(opened).node("n1"), "GPU-a")
    made = Granted(new=True, views=len(every_view()), temporary=True, large_objects=True)
    assert grant(opened, Reader(role), "first") == made
    assert not grant(opened, Reader(role), _PASSWORD).new
    assert not grant(opened, Reader(role), None).new
    with _connect(url, role) as connection:
        for view in every_view().values():
            connection.execute(f"SELECT * FROM {view}".encode())
        assert connection.execute(f"SELECT gpu FROM {gpus.VIEW}".encode()).fetchall() == [("GPU-a",)]
        settings = (
            *("default_transaction_read_only", "statement_timeout"),
            *("idle_in_transaction_session_timeout", "jit", "work_mem"),
            *("max_parallel_workers_per_gather", "random_page_cost"),
        )
        found = [connection.execute(f"SHOW {name}".encode()).fetchone() for name in settings]
    assert found == [("on",), ("30s",), ("1min",), ("off",), ("16MB",), ("0",), ("1.1",)]


def test_it_reads_nothing_else(opened: Store, url: str, role: str) -> None:
    """No table of the store, whichever that is."""
    grant(opened, Reader(role), _PASSWORD)
    query = "SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v')"
    with opened.reading() as connection:
        names = list(connection.execute(text(query)).scalars())
    assert {"tokens", "usage_recent", "holders", "nodes", "samples", "leases", "alembic_version"} <= set(names)
    with _connect(url, role) as connection:
        assert [name for name in names if _may(connection, f"SELECT 1 FROM {name} LIMIT 1")] == []


def test_it_writes_nothing(opened: Store, url: str, role: str) -> None:
    """Also where it ends its own sessions' being read only, and through no view."""
    grant(opened, Reader(role), _PASSWORD)
    statements = (
        f"DELETE FROM {gpus.VIEW}", f"UPDATE {places.VIEW} SET site = ''", "DELETE FROM gpus",
        "INSERT INTO tokens (kind, name, hash, created_at) VALUES ('admin', 'x', 'y', 1)", "CREATE TABLE mine (a int)",
        "CREATE TABLE grafana.mine (a int)", "CREATE SCHEMA mine", "CREATE VIEW grafana.mine AS SELECT 1",
        f"DROP VIEW {gpus.VIEW}", "TRUNCATE gpus", "CREATE ROLE mine", "COPY (SELECT 1) TO PROGRAM 'true'",
    )  # fmt: skip
    with _connect(url, role) as connection:
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            connection.execute("CREATE TEMPORARY TABLE mine (a int)")
        connection.execute("SET default_transaction_read_only = off")
        connection.execute("SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE")
        # Some views could not be written to by anyone.
        done = [each for each in statements if _does(connection, each)]
    assert done == []


def test_large_objects_can_be_taken_from_it(opened: Store, url: str, role: str) -> None:
    """As it is told: PostgreSQL gives them to everybody, and only its administrator takes them away."""
    with opened.writing() as connection:
        functions = "lo_create(oid), lo_creat(integer), lo_from_bytea(oid, bytea)"
        connection.execute(text(f"REVOKE EXECUTE ON FUNCTION {functions} FROM PUBLIC"))
    assert not grant(opened, Reader(role), _PASSWORD).large_objects
    makes = ("SELECT lo_create(0)", "SELECT lo_creat(-1)", "SELECT lo_from_bytea(0, '')", "SELECT lo_import('/x')")
    with _connect(url, role) as connection:
        connection.execute("SET default_transaction_read_only = off")
        assert [each for each in makes if _may(connection, each)] == []


def _does(connection: psycopg.Connection[Any], statement: str) -> bool:
    try:
        return _may(connection, statement)
    except psycopg.errors.ObjectNotInPrerequisiteState:
        return False


def test_it_reads_views_to_come(opened: Store, url: str, role: str) -> None:
    """Those that an upgrade makes, and those that it makes anew."""
    grant(opened, Reader(role), _PASSWORD)
    _run(opened, "CREATE VIEW grafana.of_tomorrow AS SELECT 1 AS one", f"COMMENT ON VIEW {gpus.VIEW} IS 'of old'")
    with _connect(url, role) as connection:
        assert _may(connection, "SELECT * FROM grafana.of_tomorrow")
        with opened.writing() as owner:
            views.refresh(owner)
        assert _may(connection, f"SELECT * FROM {gpus.VIEW}")


def test_tables_for_alert_rules(opened: Store, url: str, role: str) -> None:
    """They are named, and only they are opened."""
    grant(opened, Reader(role, tables=_TABLES), _PASSWORD)
    with _connect(url, role) as connection:
        assert all(_may(connection, f"SELECT * FROM {table}") for table in _TABLES)
        assert not _may(connection, "SELECT * FROM tokens")
    with pytest.raises(StoreError, match=r"may read events, gpus, holders \(itself"):
        grant(opened, Reader(role), None)


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ("CREATE ROLE {role} SUPERUSER", "is a superuser"),
        ("CREATE ROLE {role} CREATEROLE", "may make roles"),
        ("CREATE ROLE {role} IN ROLE pg_read_all_data", "is a member of pg_read_all_data; it may read alem"),
        ("CREATE ROLE {role}; GRANT SELECT ON tokens TO {role}", "may read tokens"),
        ("CREATE ROLE {role}; GRANT SELECT (hash) ON tokens TO {role}", "may read tokens"),
        ("CREATE ROLE {role}; GRANT INSERT ON events TO {role}", "may write events"),
        ("CREATE ROLE {role}; GRANT UPDATE (holder) ON leases TO {role}", "may write leases"),
        ("CREATE ROLE {role}; GRANT DELETE ON grafana.gpus TO {role}", "may write gpus"),
        ("CREATE ROLE {role}; GRANT MAINTAIN ON leases TO {role}", "may lock leases"),
        ("CREATE ROLE {role}; GRANT MAINTAIN ON grafana.gpus TO {role}", "may lock gpus"),
        ("CREATE ROLE {role}; GRANT UPDATE ON SEQUENCE nodes_node_id_seq TO {role}", "may count up nodes_node_id_seq"),
        ("CREATE ROLE {role}; GRANT CREATE ON SCHEMA public TO {role}", "may make things in the schema public"),
        ("CREATE ROLE {role}; CREATE TABLE theirs (a int); ALTER TABLE theirs OWNER TO {role}", "owns theirs"),
        ("CREATE ROLE {role}; GRANT SELECT ON states TO PUBLIC", r"may read states .*PUBLIC"),
    ],
)  # fmt: skip
def test_what_is_more_than_a_reader_is_refused(opened: Store, url: str, role: str, made: str, said: str) -> None:
    """It is told what it may, and nothing is changed."""
    if "MAINTAIN" in made:
        _need_maintain(opened)
    _run(opened, *made.format(role=_quoted(role)).split("; "))
    with pytest.raises(StoreError, match=said):
        grant(opened, Reader(role), _PASSWORD)
    with opened.reading() as connection:
        query = text("SELECT rolcanlogin FROM pg_roles WHERE rolname = :role")
        assert not connection.execute(query, {"role": role}).scalar_one()


def test_who_may_not_make_roles_is_told_the_sql(opened: Store, url: str, role: str) -> None:
    """An administrator runs it; after that the owner of the store may do the rest."""
    owner = f"owner_{secrets.token_hex(4)}"
    _run(opened, f"CREATE ROLE {owner} LOGIN PASSWORD 'ofowner'", *_given(opened, owner))
    parts = urlsplit(url)
    theirs = Store.open(parts._replace(netloc=f"{owner}:ofowner@{parts.hostname}:{parts.port}").geturl())
    with pytest.raises(StoreError, match=r"not allowed .*An administrator") as caught:
        grant(theirs, Reader(role), _PASSWORD)
    assert _PASSWORD not in str(caught.value)
    sql = str(caught.value).split("\n\n", 1)[1]
    assert sql == script(opened, Reader(role))
    assert "\\password" in sql
    _run(opened, *(line for line in sql.split(";\n") if line and not line.startswith("\\")))
    with opened.reading() as connection:
        query = text(f"SELECT has_table_privilege(:role, '{gpus.VIEW}', 'SELECT')")
        assert connection.execute(query, {"role": role}).scalar_one()
    theirs.close()
    _run(opened, f"REASSIGN OWNED BY {owner} TO CURRENT_USER", f"DROP OWNED BY {owner}", f"DROP ROLE {owner}")


def _given(store: Store, owner: str) -> list[str]:
    """What makes all of the store another role's."""
    query = text(
        "SELECT c.relkind, c.oid::regclass::text FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v') AND NOT "
        "c.relispartition AND c.relnamespace IN ('public'::regnamespace, 'grafana'::regnamespace)"
    )
    with store.reading() as connection:
        names = connection.execute(query).all()
    kinds = {"v": "VIEW"}
    return [
        f"ALTER SCHEMA grafana OWNER TO {owner}",
        *(f"ALTER {kinds.get(kind, 'TABLE')} {name} OWNER TO {owner}" for kind, name in names),
    ]


def test_all_of_it_is_taken_back(opened: Store, url: str, role: str) -> None:
    """The role is gone, and can be made again; one that there is not is told."""
    grant(opened, Reader(role, tables=_TABLES), _PASSWORD)
    assert revoke(opened, Reader(role))
    assert not there(opened, role)
    with pytest.raises(StoreError, match="there is no role"):
        revoke(opened, Reader(role))
    assert grant(opened, Reader(role), _PASSWORD).new


def test_a_role_that_is_of_use_elsewhere_stays(opened: Store, url: str, role: str, new_postgresql: NewDatabase) -> None:
    """It no longer reads this database."""
    other = Store.open(new_postgresql())
    grant(other, Reader(role), _PASSWORD)
    grant(opened, Reader(role), None)
    assert not revoke(opened, Reader(role))
    with _connect(url, role) as connection:
        assert not _may(connection, f"SELECT * FROM {gpus.VIEW}")
    assert revoke(other, Reader(role))
    other.close()


@pytest.mark.parametrize("name", ["", "pg_reader", "x" * 64, "a\0b"])
def test_names_that_no_role_can_have(name: str) -> None:
    """Are told before anything is asked."""
    with pytest.raises(StoreError, match="can't be the name of a role"):
        Reader(name)


def test_sqlite_has_no_roles(new_sqlite: NewDatabase) -> None:
    """It says so."""
    with contextlib.closing(Store.open(new_sqlite())) as store:
        for ask in (lambda: grant(store, Reader("grafana"), None), lambda: script(store, Reader("grafana"))):
            with pytest.raises(StoreError, match="SQLite, which has no roles"):
                ask()
