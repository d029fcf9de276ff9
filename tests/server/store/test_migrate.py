"""Migrations lead to exactly the schema, and metrics to come get their column."""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from gpufleet_agent.catalogue import BY_NAME, METRICS
from gpufleet_server.store.engine import Store, StoreError
from gpufleet_server.store.migrate import add_sample_columns, migrate, migrated
from gpufleet_server.store.schema import metadata
from sqlalchemy import inspect, text


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Store]:
    """A store without tables."""
    opened = Store.open(f"sqlite:///{tmp_path}/empty.db")
    yield opened
    opened.close()


def _master(store: Store) -> list[Any]:
    with store.reading() as connection:
        return list(connection.execute(text("SELECT type, name, sql FROM sqlite_master ORDER BY name")))


def test_the_migrations_make_the_schema(store: Store) -> None:
    """Alembic finds no difference between the migrated store and the tables in code."""
    with store.reading() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_the_migrations_make_the_same_tables_as_the_code(store: Store, empty: Store) -> None:
    """WITHOUT ROWID, names of keys, nullability: columns and table options are those of the schema."""
    with empty.writing() as connection:
        metadata.create_all(connection)
    with store.reading() as one, empty.reading() as other:
        for name in metadata.tables:
            columns = text(
                f"SELECT name, type, \"notnull\", dflt_value, pk FROM pragma_table_xinfo('{name}') ORDER BY 1"
            )
            options = text(f"SELECT type, ncol, wr, strict FROM pragma_table_list WHERE name = '{name}'")
            assert one.execute(columns).all() == other.execute(columns).all()
            assert one.execute(options).all() == other.execute(options).all()


def test_migrating_twice_changes_nothing(store: Store) -> None:
    """A store that is up to date stays as it is."""
    before = _master(store)
    migrate(store)
    assert _master(store) == before


def test_an_empty_store_is_not_migrated(empty: Store) -> None:
    """The server can tell whether it may begin."""
    with empty.reading() as connection:
        assert not migrated(connection)
    migrate(empty)
    with empty.reading() as connection:
        assert migrated(connection)


def test_a_metric_of_tomorrow_gets_its_column(store: Store) -> None:
    """A new entry of the catalogue needs no migration, and what is stored stays."""
    with store.writing() as connection:
        connection.execute(text("INSERT INTO samples (gpu_id, ts, duration, power) VALUES (1, 2, 1000, 7)"))
        tomorrow = dataclasses.replace(BY_NAME["power"], name="power_of_tomorrow")
        add_sample_columns(connection, [*METRICS[:1], tomorrow])
        add_sample_columns(connection, [tomorrow])
        assert "power_of_tomorrow" in {column["name"] for column in inspect(connection).get_columns("samples")}
        assert connection.execute(text("SELECT power, power_of_tomorrow FROM samples")).one() == (7, None)


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
    before = _master(empty)
    with pytest.raises(Exception, match="already exists"):
        migrate(empty)
    assert _master(empty) == before
