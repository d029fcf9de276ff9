"""What a view for dashboards is: its name, what a row is, its columns, and the select that makes it."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, Final

from gpufleet_agent.catalogue import Metric, Unit
from sqlalchemy import (
    BigInteger,
    Boolean,
    ClauseElement,
    ColumnElement,
    DateTime,
    Float,
    FromClause,
    Integer,
    Select,
    SmallInteger,
    Text,
    cast,
    select,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import TypeEngine

SCHEMA: Final = "grafana"

# Units of time, which the catalogue's metrics do not have.
SECOND: Final = "s"
MICROSECOND: Final = "µs"

# PostgreSQL's names of the types that columns may have.
TYPES: Final[Mapping[str, TypeEngine[Any]]] = {
    "bigint": BigInteger(),
    "boolean": Boolean(),
    "double precision": Float(53),
    "integer": Integer(),
    "smallint": SmallInteger(),
    "text": Text(),
    "timestamp with time zone": DateTime(timezone=True),
}

# Not psycopg's dialect, which would write each % twice.
_DIALECT = postgresql.dialect(paramstyle="named")  # type: ignore[no-untyped-call]


@dataclasses.dataclass(frozen=True, slots=True)
class Column:
    """A column: its type as PostgreSQL calls it, one of TYPES; what it means; its unit where it is of one.

    The unit is the catalogue's, or a symbol where that has none: SECOND, MICROSECOND, or a product such as `W·s`.
    """

    name: str
    type: str
    help: str
    unit: Unit | str | None = None

    def __post_init__(self) -> None:
        if self.type not in TYPES:
            raise ValueError(f"{self.name}: {self.type!r} is none of {', '.join(TYPES)}")

    @property
    def symbol(self) -> str:
        """The unit as it is written; empty where there is none."""
        return self.unit.symbol if isinstance(self.unit, Unit) else self.unit or ""


@dataclasses.dataclass(frozen=True)
class View:
    """A view of the schema `grafana`. `help` says what a row is; `select` is the whole statement.

    `str(view)` is its name in SQL. `span`: where rows lie in blocks, the length of one in µs: rows of a time `at` have
    `span` from `at` less that much to `at`.
    """

    name: str
    help: str
    columns: tuple[Column, ...]
    select: str
    span: int | None = None

    def __post_init__(self) -> None:
        names = [column.name for column in self.columns]
        if len(set(names)) != len(names):
            raise ValueError(f"{self}: a column is named twice")

    def __str__(self) -> str:
        return f"{SCHEMA}.{self.name}"

    def __getitem__(self, column: str | Metric) -> str:
        """A column's name as SQL takes it. KeyError names view and column where there is none."""
        return quoted(self.column(column if isinstance(column, str) else column.name).name)

    def column(self, name: str) -> Column:
        """The column of a name. KeyError names view and column where there is none."""
        for column in self.columns:
            if column.name == name:
                return column
        raise KeyError(f"{self} has no column {name!r}")

    def mean(self, metric: str | Metric) -> str:
        """SQL of a metric's mean over any group of rows that have it as a sum and the seconds that it is over."""
        name = metric if isinstance(metric, str) else metric.name
        return f"sum({self[f'{name}_sum']}) / nullif(sum({self[f'{name}_seconds']}), 0)"


def quoted(name: str) -> str:
    """A name as SQL takes it: in quotes where it is a word of SQL's own."""
    return str(_DIALECT.identifier_preparer.quote(name))


def compiled(select: Select[Any]) -> str:
    """A select as text, with its values written into it."""
    return text_of(select)


def text_of(part: ClauseElement) -> str:
    """A part of SQL as text, with its values written into it."""
    return str(part.compile(dialect=_DIALECT, compile_kwargs={"literal_binds": True}))


# A column, and what it is of the tables.
Field = tuple[Column, ColumnElement[Any]]


def columns(fields: Iterable[Field]) -> tuple[Column, ...]:
    """The columns alone."""
    return tuple(column for column, _ in fields)


def cells(fields: Iterable[Field]) -> list[ColumnElement[Any]]:
    """What to select: each under its column's name, and of its type."""
    return [cast(value, TYPES[column.type]).label(column.name) for column, value in fields]


def view(name: str, help: str, fields: Iterable[Field], tables: FromClause, *where: ColumnElement[bool]) -> View:
    """A view of these fields of tables that are joined, and of the rows for which `where` holds."""
    listed = tuple(fields)
    return View(name, help, columns(listed), compiled(select(*cells(listed)).select_from(tables).where(*where)))
