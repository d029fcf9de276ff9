"""Many rows at once: COPY in its binary form on PostgreSQL, prepared inserts on SQLite."""

import functools
import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, cast

from psycopg.types.string import BytesBinaryDumper
from sqlalchemy import BigInteger, Boolean, Column, Connection, Float, Integer, LargeBinary, MetaData, Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import JSON, SmallInteger, String

if TYPE_CHECKING:
    import psycopg

# PostgreSQL's names of the types that tables here have; COPY in its binary form has to be told.
_TYPES = (
    (LargeBinary, "bytea"),
    (Boolean, "bool"),
    (BigInteger, "int8"),
    (SmallInteger, "int2"),
    (Integer, "int4"),
    (Float, "float8"),
    (JSON, "json"),
    (String, "varchar"),
)


def insert_rows(connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Insert rows, each with a value a column. On PostgreSQL a row that violates a constraint fails them all."""
    if connection.dialect.name == "sqlite":
        # Written out: SQLAlchemy would have them in the table's order.
        names, places = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
        statement = f"INSERT INTO {table.name} ({names}) VALUES ({places})"
        if found := [tuple(map(_plain, row)) for row in rows]:
            connection.exec_driver_sql(statement, found)
        return
    _copy(connection, table, table.name, columns, rows)


def insert_into(connection: Connection, table: Table) -> Any:
    """An INSERT that can say what becomes of rows whose key is there already: `on_conflict_do_…`, on both engines."""
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)


def insert_new(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert the rows whose key is not there yet. Others may be at it too: all should keep to one order of rows."""
    if rows:
        connection.execute(insert_into(connection, table).on_conflict_do_nothing(), rows)


def stage(connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """On PostgreSQL: the rows in a temporary table of these columns of `table`, for statements of this transaction.

    One staging a table and set of columns in a transaction: what was there before is gone.
    """
    staged = _staged(table, tuple(columns))
    names = ", ".join(f'"{name}"' for name in columns)
    connection.exec_driver_sql(
        f"CREATE TEMPORARY TABLE IF NOT EXISTS {staged.name} ON COMMIT DELETE ROWS AS "
        f"SELECT {names} FROM {table.name} LIMIT 0"
    )
    # Not TRUNCATE, which makes a new file; the end of the last transaction has emptied it.
    connection.exec_driver_sql(f"DELETE FROM {staged.name}")
    _copy(connection, table, staged.name, columns, rows)
    return staged


@functools.cache
def _staged(table: Table, columns: tuple[str, ...]) -> Table:
    name = f"staged_{table.name}_{len(columns)}"
    return Table(name, MetaData(), *(Column(each, table.c[each].type) for each in columns), prefixes=["TEMPORARY"])


def _copy(
    connection: Connection, table: Table, into: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    driver = cast("psycopg.Connection", connection.connection.driver_connection)
    names = ", ".join(f'"{name}"' for name in columns)
    with driver.cursor() as cursor, cursor.copy(f"COPY {into} ({names}) FROM STDIN BINARY".encode()) as copy:
        # For bytes psycopg would take the one in plain Python that the DB-API's Binary has.
        cursor.adapters.register_dumper(bytes, BytesBinaryDumper)
        copy.set_types(_types(table, tuple(columns)))
        for row in rows:
            copy.write_row(row)


def _plain(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict) else value


@functools.cache
def _types(table: Table, columns: tuple[str, ...]) -> list[str]:
    return [_type(table.c[name]) for name in columns]


def _type(column: Column[Any]) -> str:
    return next(name for kind, name in _TYPES if isinstance(column.type, kind))
