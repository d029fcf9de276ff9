"""Every view there is: it exists, it has the columns it says, and a name that it has not is told."""

import dataclasses
from typing import Any

import pytest
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, Unit
from gpufleet_server.store.grafana import discovery, views
from gpufleet_server.store.grafana.discovery import every_view
from gpufleet_server.store.grafana.view import SCHEMA, Column, View
from gpufleet_server.store.grafana.views import fleet_minutes, gpus, latest
from sqlalchemy import text

from tests.server.store.grafana.filled import Filled


@pytest.mark.parametrize("name", every_view())
def test_columns_are_those_that_are_declared(filled: Filled, name: str) -> None:
    """Names in their order, types, no more and no fewer; each can be named as the view says."""
    view = every_view()[name]
    query = text(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a "
        "WHERE a.attrelid = to_regclass(:name) AND a.attnum > 0 ORDER BY a.attnum"
    )
    with filled.store.reading() as connection:
        there = [tuple(row) for row in connection.execute(query, {"name": str(view)})]
    assert there == [(column.name, column.type) for column in view.columns]
    filled.rows(view, where="false")


def test_there_are_no_other_views(filled: Filled) -> None:
    """The schema holds these and nothing else."""
    query = text("SELECT c.relname FROM pg_class c WHERE c.relnamespace = to_regnamespace(:schema)")
    with filled.store.reading() as connection:
        assert set(connection.execute(query, {"schema": SCHEMA}).scalars()) == set(every_view())


@pytest.mark.parametrize("name", every_view())
def test_every_column_says_what_it_is(name: str) -> None:
    """For the page of all views."""
    view = every_view()[name]
    assert view.help.endswith((".", "…"))
    for column in view.columns:
        assert column.help.strip(), f"{view}.{column.name}"
        assert "|" not in f"{column.help}{column.symbol}", "it would break a table"


def test_what_is_renamed_is_told() -> None:
    """A board that asks for a column that there is not fails when it is built."""
    with pytest.raises(KeyError, match=r"grafana\.gpus has no column 'vbios_of_old'"):
        gpus.VIEW["vbios_of_old"]
    renamed = dataclasses.replace(BY_NAME["power"], name="power_of_old")
    with pytest.raises(KeyError, match=r"grafana\.latest has no column 'power_of_old'"):
        latest.VIEW[renamed]
    with pytest.raises(KeyError, match="gpu_temperature_sum"):
        fleet_minutes.VIEW.mean("gpu_temperature")


def test_names_are_quoted_where_they_have_to_be() -> None:
    """Words of SQL's own can be columns."""
    columns = (Column("user", "text", "Who."), Column("power", "bigint", "How much.", Unit.WATT))
    view = View("odd", "One.", columns, "SELECT 'a' AS \"user\", 1 AS power")
    assert (str(view), view["user"], view["power"]) == ("grafana.odd", '"user"', "power")
    assert [column.symbol for column in columns] == ["", "W"]


def test_a_mistake_in_a_view_is_told() -> None:
    """A type that PostgreSQL does not call so, a name twice."""
    with pytest.raises(ValueError, match="'int8' is none of bigint"):
        Column("at", "int8", "When.")
    with pytest.raises(ValueError, match="named twice"):
        View("odd", "One.", (Column("at", "bigint", "When."),) * 2, "")


def test_a_module_without_its_view_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not left out."""
    found: Any = discovery._view
    monkeypatch.setattr(gpus, "VIEW", latest.VIEW)
    with pytest.raises(TypeError, match=rf"{views.__name__}\.gpus must have a View of that name"):
        found("gpus")


def test_every_metric_is_in_the_views_of_samples() -> None:
    """From the catalogue, so that one that is new is there too."""
    names = {column.name for column in latest.VIEW.columns}
    assert {metric.name for metric in EVERY_SAMPLE} <= names
