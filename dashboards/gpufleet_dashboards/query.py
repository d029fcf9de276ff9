"""A panel's query: SQL for Grafana's PostgreSQL data source, and what it returns."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any, Self

from gpufleet_agent.catalogue import BY_NAME
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.runtime import DataqueryConfig, register_dataquery_variant
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.common import DataSourceRef

from gpufleet_dashboards import units
from gpufleet_dashboards.links import Link
from gpufleet_dashboards.scale import Step, Value

PLUGIN = "grafana-postgresql-datasource"
# Boards ask the data source that the variable of this name says: one imported by hand asks which it is to be.
DATASOURCE = DataSourceRef(type_val=PLUGIN, uid="${datasource}")
_VARIABLE = re.compile(r"\$\{?([A-Za-z][A-Za-z0-9_]*)")


class Type(Enum):
    """What Grafana makes of a column."""

    TIME = "time"
    NUMBER = "number"
    TEXT = "text"
    FLAG = "flag"


class Format(Enum):
    """How Grafana reads a result: rows as they are, or series of numbers by time, named by the texts beside them."""

    TABLE = "table"
    SERIES = "time_series"


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column of a result: its type and unit; in tables also its heading, where it leads, and its colours.

    `hidden`: not shown, but there for links. `width` in pixels. `nullable`: NULL where there is no value.
    """

    type: Type
    unit: str = ""
    title: str = ""
    link: Link | None = None
    steps: tuple[Step, ...] = ()
    values: tuple[Value, ...] = ()
    hidden: bool = False
    width: int | None = None
    nullable: bool = True
    decimals: int | None = None


TIME = Column(type=Type.TIME, nullable=False)


def moment(title: str = "", unit: str = units.MOMENT, **more: Any) -> Column:
    """A time that is shown; `timestamptz`."""
    return Column(type=Type.TIME, unit=unit, title=title, **more)


def text(title: str = "", **more: Any) -> Column:
    """A text."""
    return Column(type=Type.TEXT, title=title, **more)


def number(unit: str, title: str = "", **more: Any) -> Column:
    """A number in a unit of Grafana's."""
    return Column(type=Type.NUMBER, unit=unit, title=title, **more)


def metric(name: str, title: str = "", **more: Any) -> Column:
    """A number in the unit of a metric of the catalogue; KeyError where there is no such metric."""
    return number(units.unit_of(BY_NAME[name]), title, **more)


def flag(title: str = "", **more: Any) -> Column:
    """Yes or no."""
    return Column(type=Type.FLAG, unit=units.YES_NO, title=title, **more)


@dataclass(frozen=True, slots=True)
class Query:
    """A statement and the columns it returns, by name, in their order."""

    sql: str
    returns: Mapping[str, Column] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not self.returns:
            raise ValueError("a query says which columns it returns")
        if ";" in self.sql:
            raise ValueError("a query is one statement, without a semicolon")

    def of_type(self, *types: Type) -> list[str]:
        """The names of the columns of these types."""
        return [name for name, column in self.returns.items() if column.type in types]

    @property
    def variables(self) -> set[str]:
        """The variables of the board that the statement has in it."""
        return variables_in(self.sql)


def variables_in(written: str) -> set[str]:
    """The variables that a text has in it; Grafana's own (`$__from`) left out."""
    return set(_VARIABLE.findall(written))


class SqlQuery(Dataquery):
    """What a panel's target holds of a query of Grafana's PostgreSQL data source."""

    def __init__(self, sql: str, shape: str, ref: str, datasource: DataSourceRef = DATASOURCE) -> None:
        self.sql, self.shape, self.ref, self.datasource = sql, shape, ref, datasource

    def to_json(self) -> dict[str, object]:
        """As Grafana keeps it."""
        return {
            "datasource": self.datasource,
            "editorMode": "code",
            "format": self.shape,
            "rawQuery": True,
            "rawSql": self.sql,
            "refId": self.ref,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Self:
        """The query of a target."""
        return cls(data["rawSql"], data["format"], data["refId"], DataSourceRef.from_json(data["datasource"]))


class SqlTarget(Builder[Dataquery]):
    """Builds a target of a panel, as the SDK wants builders."""

    def __init__(self, sql: str, shape: Format, ref: str) -> None:
        self._built = SqlQuery(sql, shape.value, ref)

    def build(self) -> Dataquery:
        """The target."""
        return self._built


def read_sql_targets() -> None:
    """Let the SDK read such targets again, for whoever reads a board's JSON through it."""
    register_dataquery_variant(DataqueryConfig(identifier=PLUGIN, from_json_hook=SqlQuery.from_json))
