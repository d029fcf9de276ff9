"""A PostgreSQL role that reads the views for Grafana and nothing else: made, looked over, taken back."""

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import cast

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from gpufleet_server.store.engine import Store
from gpufleet_server.store.errors import StoreError, cause
from gpufleet_server.store.grafana.view import SCHEMA
from gpufleet_server.store.reader_rights import may_make_large_objects, may_make_temporary, too_much

_LONGEST_NAME = 63


@dataclasses.dataclass(frozen=True, slots=True)
class Reader:
    """What a role is to be: its name, how long its statements may take (ms), and tables that it reads beside views."""

    role: str
    timeout_ms: int = 30_000
    tables: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not 0 < len(self.role.encode()) <= _LONGEST_NAME or "\0" in self.role or self.role.startswith("pg_"):
            raise StoreError(f"{self.role!r} can't be the name of a role: 1 to {_LONGEST_NAME} bytes, and not pg_…")


@dataclasses.dataclass(frozen=True, slots=True)
class Granted:
    """What came of it: whether the role is new, how many views it reads, and what everybody may make here."""

    new: bool
    views: int
    temporary: bool
    large_objects: bool


@dataclasses.dataclass(frozen=True, slots=True)
class _Place:
    """Where it all lies, and whose it is; each name as SQL takes it."""

    database: str
    schema: str
    owner: str
    views: int


def grant(store: Store, reader: Reader, password: str | None) -> Granted:
    """Make the role where there is none, and let it read; all or nothing, and as often as one likes.

    A password is set where one is given. StoreError where the role would be more than a reader, and, with the SQL for
    an administrator, where this one may not do it.
    """
    with _told(store, reader), store.writing() as connection:
        place, new = _place(connection), not _exists(connection, reader.role)
        hashed = None if password is None else _hashed(connection, reader.role, password)
        for statement in _granting(reader, place, hashed, new=new):
            # The driver takes a % for one of its own marks.
            connection.exec_driver_sql(statement.replace("%", "%%"))
        if found := too_much(connection, reader.role, reader.tables):
            raise StoreError(
                f"{reader.role} would be more than a reader: it {'; it '.join(found)} (itself, or because everybody "
                "may: PUBLIC). Name another role, or take that from it first; nothing was changed"
            )
        role = reader.role
        return Granted(new, place.views, may_make_temporary(connection, role), may_make_large_objects(connection, role))


def revoke(store: Store, reader: Reader) -> bool:
    """Take all rights in this database from the role, and remove it; whether it is gone: others may need it elsewhere.

    StoreError where there is no such role, and, with the SQL for an administrator, where this one may not do it.
    """
    with _told(store, reader, revoking=True), store.writing() as connection:
        if not _exists(connection, reader.role):
            raise StoreError(f"there is no role {reader.role}")
        for statement in _revoking(reader, _place(connection)):
            connection.exec_driver_sql(statement.replace("%", "%%"))
        with contextlib.suppress(DBAPIError), connection.begin_nested():
            connection.exec_driver_sql(f"DROP ROLE {_name(reader.role)}".replace("%", "%%"))
        return not _exists(connection, reader.role)


def script(store: Store, reader: Reader, *, revoking: bool = False) -> str:
    """The same as SQL for an administrator, who sets the password with psql's \\password."""
    _need_postgresql(store)
    with store.reading() as connection:
        place, new = _place(connection), not _exists(connection, reader.role)
    lines = list(_revoking(reader, place) if revoking else _granting(reader, place, None, new=new))
    if revoking:
        lines.append(f"DROP ROLE {_name(reader.role)}")
    text = "".join(f"{line};\n" for line in lines)
    return f"{text}\\password {_name(reader.role)}\n" if new and not revoking else text


def there(store: Store, role: str) -> bool:
    """Whether there is such a role."""
    _need_postgresql(store)
    with store.reading() as connection:
        return _exists(connection, role)


def _exists(connection: Connection, role: str) -> bool:
    return connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname = :role"), {"role": role}).scalar() is not None


def _granting(reader: Reader, place: _Place, hashed: str | None, *, new: bool) -> Iterator[str]:
    role, password = _name(reader.role), "" if hashed is None else f" PASSWORD {_literal(hashed)}"
    if new or password:
        yield f"{'CREATE' if new else 'ALTER'} ROLE {role} LOGIN{password}"
    settings = {
        "default_transaction_read_only": "on",
        "statement_timeout": str(reader.timeout_ms),
        # A transaction that is left open keeps partitions from being dropped.
        "idle_in_transaction_session_timeout": "60000",
        # Compiling what reads a hundred columns takes longer than reading them.
        "jit": "off",
        # A month's events by GPU and code go to disk in the 4 MB of PostgreSQL's own default.
        "work_mem": "16384",
        # A board asks ten things at once: helpers of each take longer to start than they save, and cores from agents.
        "max_parallel_workers_per_gather": "0",
        # What it reads lies on SSDs or in memory, where PostgreSQL's own default is of disks that turn.
        "random_page_cost": "1.1",
    }
    for name, value in settings.items():
        yield f"ALTER ROLE {role} IN DATABASE {place.database} SET {name} = {value}"
    yield f"GRANT CONNECT ON DATABASE {place.database} TO {role}"
    yield f"GRANT USAGE ON SCHEMA {SCHEMA} TO {role}"
    yield f"GRANT SELECT ON ALL TABLES IN SCHEMA {SCHEMA} TO {role}"
    yield f"ALTER DEFAULT PRIVILEGES FOR ROLE {place.owner} IN SCHEMA {SCHEMA} GRANT SELECT ON TABLES TO {role}"
    if reader.tables:
        yield f"GRANT USAGE ON SCHEMA {place.schema} TO {role}"
        tables = ", ".join(f"{place.schema}.{_name(table)}" for table in reader.tables)
        yield f"GRANT SELECT ON {tables} TO {role}"


def _revoking(reader: Reader, place: _Place) -> Iterator[str]:
    role = _name(reader.role)
    yield f"ALTER DEFAULT PRIVILEGES FOR ROLE {place.owner} IN SCHEMA {SCHEMA} REVOKE ALL ON TABLES FROM {role}"
    for schema in (SCHEMA, place.schema):
        yield f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {role}"
        yield f"REVOKE ALL ON SCHEMA {schema} FROM {role}"
    yield f"REVOKE ALL ON DATABASE {place.database} FROM {role}"
    yield f"ALTER ROLE {role} IN DATABASE {place.database} RESET ALL"


_PLACE = text(
    "SELECT quote_ident(current_database()), quote_ident(n.nspname), quote_ident(pg_get_userbyid(g.nspowner)), "
    "(SELECT count(*) FROM pg_class v WHERE v.relnamespace = g.oid AND v.relkind = 'v') "
    "FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_namespace g ON g.nspname = :schema "
    "WHERE c.oid = CAST('nodes' AS regclass)"
)


def _place(connection: Connection) -> _Place:
    row = connection.execute(_PLACE, {"schema": SCHEMA}).one_or_none()
    if row is None:
        raise StoreError(f"the database has no schema {SCHEMA} yet: run `gpufleet db migrate`")
    return _Place(*row)


def _hashed(connection: Connection, role: str, password: str) -> str:
    """The password as the server keeps it, so that it is in none of its logs."""
    driver = cast("psycopg.Connection", connection.connection.driver_connection)
    return driver.pgconn.encrypt_password(password.encode(), role.encode(), None).decode()


def _name(text: str) -> str:
    return '"{}"'.format(text.replace('"', '""'))


def _literal(text: str) -> str:
    return "'{}'".format(text.replace("'", "''"))


@contextlib.contextmanager
def _told(store: Store, reader: Reader, *, revoking: bool = False) -> Iterator[None]:
    _need_postgresql(store)
    try:
        yield
    except ProgrammingError as error:
        if not isinstance(error.orig, psycopg.errors.InsufficientPrivilege):
            raise
        sql = script(store, reader, revoking=revoking)
        raise StoreError(f"not allowed ({cause(error)}). An administrator of the database may run:\n\n{sql}") from error


def _need_postgresql(store: Store) -> None:
    if store.dialect != "postgresql":
        raise StoreError(f"{store.name} is SQLite, which has no roles: Grafana reads PostgreSQL")
