"""Brings a store to the schema of this version, and gives every metric of the catalogue its column."""

import functools
from collections.abc import Iterable

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from alembic.script import ScriptDirectory
from gpufleet_agent.catalogue import EVERY_SAMPLE, Metric
from sqlalchemy import Column, Connection, inspect

from gpufleet_server.store.engine import Store, StoreError
from gpufleet_server.store.schema import INTEGERS, samples


def migrate(store: Store) -> None:
    """Apply what is missing, all or nothing. StoreError where a newer gpufleet has written the store."""
    with store.writing() as connection:
        current = _current(connection)
        if current is not None and current not in _revisions():
            raise StoreError(f"the store is of a newer gpufleet (revision {current}); upgrade this one")
        command.upgrade(_config(connection), "head")
        add_sample_columns(connection, EVERY_SAMPLE)


def migrated(connection: Connection) -> bool:
    """Whether the store has the schema of this version."""
    return _current(connection) == _head()


def add_sample_columns(connection: Connection, metrics: Iterable[Metric]) -> None:
    """Give `samples` a column for each metric that has none. Columns of metrics no longer known stay."""
    there = {column["name"] for column in inspect(connection).get_columns(samples.name)}
    operations = Operations(MigrationContext.configure(connection))
    for metric in metrics:
        if metric.name not in there:
            operations.add_column(samples.name, Column(metric.name, INTEGERS[metric.width]()))


@functools.cache
def _head() -> str | None:
    return ScriptDirectory.from_config(_config()).get_current_head()


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "gpufleet_server.store:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


def _current(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()


def _revisions() -> set[str]:
    return {script.revision for script in ScriptDirectory.from_config(_config()).walk_revisions()}
