"""Rows that are inserted, or changed where their key is there already: many in one statement, on both engines."""

from collections.abc import Callable, Sequence
from typing import Any

from sqlalchemy import Connection, Table

from gpufleet_server.store.bulk import stage

# What a column becomes, as SQL of the table's name and the column's; `excluded` is the row that comes.
Change = Callable[[str, str], str]


def replace(_table: str, column: str) -> str:
    """The new value."""
    return f"excluded.{column}"


def add(table: str, column: str) -> str:
    """The sum; NULL counts for nothing."""
    return f"coalesce({table}.{column} + excluded.{column}, {table}.{column}, excluded.{column})"


def unite(table: str, column: str) -> str:
    """The bits that either has set."""
    return f"coalesce({table}.{column} | excluded.{column}, {table}.{column}, excluded.{column})"


def greatest(table: str, column: str) -> str:
    """The larger one."""
    return _better(table, column, ">")


def least(table: str, column: str) -> str:
    """The smaller one."""
    return _better(table, column, "<")


def _better(table: str, column: str, sign: str) -> str:
    ours, theirs = f"{table}.{column}", f"excluded.{column}"
    return f"CASE WHEN {ours} IS NULL OR {theirs} {sign} {ours} THEN {theirs} ELSE {ours} END"


class Upsert:
    """The statement for a table: its primary key, then the columns that change, and how.

    A row that is there is locked, also where no column changes.
    """

    def __init__(self, table: Table, changes: dict[str, Change]) -> None:
        keys = [column.name for column in table.primary_key]
        self._table, self._columns = table, [*keys, *changes]
        changes = changes or {keys[0]: replace}
        sets = ", ".join(f'"{name}" = {change(table.name, name)}' for name, change in changes.items())
        self._names = ", ".join(f'"{name}"' for name in self._columns)
        self._keys = ", ".join(f'"{key}"' for key in keys)
        self._conflict = f"ON CONFLICT ({self._keys}) DO UPDATE SET {sets}"

    def execute(self, connection: Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Do it for rows of different keys: values of the key, then of the columns."""
        if not rows:
            return
        into = f"INSERT INTO {self._table.name} ({self._names})"
        if connection.dialect.name == "sqlite":
            marks = ", ".join("?" * len(self._columns))
            connection.exec_driver_sql(f"{into} VALUES ({marks}) {self._conflict}", [tuple(row) for row in rows])
            return
        staged = stage(connection, self._table, self._columns, rows)
        # In one order for all servers: two that wait for each other's rows would wait for ever.
        chosen = f"SELECT {self._names} FROM {staged.name} ORDER BY {self._keys}"
        connection.exec_driver_sql(f"{into} {chosen} {self._conflict}")
