"""Migrations lead to exactly the schema, and metrics to come get their column."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE
from gpufleet_server.store.engine import Store, StoreError
from gpufleet_server.store.migrate import add_metric_columns, migrate, migrated
from gpufleet_server.store.schema import metadata
from gpufleet_server.store.tiers import latest
from sqlalchemy import Connection, insert, inspect, text
from sqlalchemy.exc import DBAPIError


@pytest.fixture
def empty(request: pytest.FixtureRequest, store: Store, tmp_path: Path) -> Iterator[Store]:
    """A store without tables, of the same engine as `store`."""
    database = f"sqlite:///{tmp_path}/empty.db"
    opened = Store.open(request.getfixturevalue("postgres_database") if store.dialect == "postgresql" else database)
    yield opened
    opened.close()


def _catalogue(store: Store) -> list[Any]:
    """Everything that the database says it holds."""
    query = "SELECT type, name, sql FROM sqlite_master ORDER BY name"
    if store.dialect == "postgresql":
        query = (
            "SELECT relname, relkind, relnatts, obj_description(oid) FROM pg_class WHERE relname !~ '^pg_' ORDER BY 1"
        )
    with store.reading() as connection:
        return list(connection.execute(text(query)))


@pytest.mark.filterwarnings("ignore:autogenerate skipping metadata-specified expression-based index")
def test_the_migrations_make_the_schema(store: Store) -> None:
    """Alembic finds no difference between the migrated store and the tables in code."""
    with store.reading() as connection:
        given = {"compare_type": True, "compare_server_default": True, "include_name": _is_no_partition}
        context = MigrationContext.configure(connection, opts=given)
        assert compare_metadata(context, metadata) == []


def _is_no_partition(name: str | None, kind: str, _parents: Any) -> bool:
    return kind != "table" or name in metadata.tables


def test_the_migrations_make_the_same_tables_as_the_code(store: Store, empty: Store) -> None:
    """Types, lengths, nullability, keys, how it is partitioned: columns and keys are those of the schema."""
    with empty.writing() as connection:
        metadata.create_all(connection)
    with store.reading() as one, empty.reading() as other:
        for name in metadata.tables:
            assert _shape(one, name) == _shape(other, name)


def _shape(connection: Connection, table: str) -> Any:
    found = inspect(connection)
    left_out = {"autoincrement", "default", "comment"}
    columns = sorted(str({k: v for k, v in each.items() if k not in left_out}) for each in found.get_columns(table))
    keys = found.get_pk_constraint(table)["constrained_columns"], sorted(map(str, found.get_unique_constraints(table)))
    indices = sorted(str({k: _texts(v) for k, v in each.items()}) for each in found.get_indexes(table))
    return columns, keys, indices, found.get_table_options(table)


def _texts(value: Any) -> Any:
    """What a condition of an index says, not which object it is."""
    return {k: str(v) for k, v in value.items()} if isinstance(value, dict) else value


def test_migrating_twice_changes_nothing(store: Store) -> None:
    """A store that is up to date stays as it is."""
    before = _catalogue(store)
    migrate(store)
    assert _catalogue(store) == before


def test_an_empty_store_is_not_migrated(empty: Store) -> None:
    """The server can tell whether it may begin."""
    with empty.reading() as connection:
        assert not migrated(connection)
    migrate(empty)
    with empty.reading() as connection:
        assert migrated(connection)


def test_a_metric_of_tomorrow_gets_its_columns(store: Store) -> None:
    """A new entry of the catalogue needs no migration, and what is stored stays."""
    with store.writing() as connection:
        connection.execute(insert(latest).values(node_id=1, ts=b"", durations=b"", power=b"7"))
        tomorrow = dataclasses.replace(BY_NAME["power"], name="power_of_tomorrow")
        add_metric_columns(connection, [*EVERY_SAMPLE[:1], tomorrow])
        add_metric_columns(connection, [tomorrow])
        for table in ("recent", "sealed", "hourly", "daily", "fleet_minutes", "fleet_hours"):
            assert "power_of_tomorrow" in {column["name"] for column in inspect(connection).get_columns(table)}
        assert connection.execute(text("SELECT power, power_of_tomorrow FROM latest")).one() == (b"7", None)


def test_a_store_of_a_newer_version_is_refused(store: Store) -> None:
    """An old server does not touch what it does not understand."""
    with store.writing() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="newer gpufleet"):
        migrate(store)


def test_a_failed_migration_leaves_nothing(empty: Store) -> None:
    """All of it or none: a table in the way stops it before anything is made."""
    with empty.writing() as connection:
        connection.execute(text("CREATE TABLE events (unrelated TEXT)"))
    before = _catalogue(empty)
    with pytest.raises((DBAPIError, StoreError), match="already exists"):
        migrate(empty)
    assert _catalogue(empty) == before


def test_a_server_that_is_not_there_is_told_plainly() -> None:
    """Which database, and what was wrong; not its password."""
    nowhere = Store.open("postgresql://fleet:secret@127.0.0.1:1/db")
    with pytest.raises(StoreError, match="refused") as caught:
        migrate(nowhere)
    assert "fleet:***@127.0.0.1:1/db" in str(caught.value)
    assert "secret" not in str(caught.value)
