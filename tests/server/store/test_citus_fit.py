"""The schema as PostgreSQL has it keeps to what Citus asks of distributed tables (docs/adr/0007)."""

from typing import Any

import pytest
from gpufleet_server.store.engine import Store
from gpufleet_server.store.schema import metadata
from gpufleet_server.store.tiers import TIERS, latest, recent
from gpufleet_server.store.upkeep import Upkeep
from sqlalchemy import text

_DISTRIBUTED = {table.name: table.info["distributed_by"] for table in metadata.tables.values() if table.info}


def _ask(store: Store, query: str, **given: Any) -> list[Any]:
    with store.reading() as connection:
        return list(connection.execute(text(query), given))


def test_what_grows_with_the_fleet_is_distributed() -> None:
    """Every table of metrics of GPUs is among them."""
    assert {table.name for table in (recent, latest, *(tier.table for tier in TIERS))} < _DISTRIBUTED.keys()


@pytest.mark.parametrize("table", sorted(_DISTRIBUTED))
def test_the_distribution_column_is_in_every_unique_key(postgresql: Store, table: str) -> None:
    """Of the table and of each of its partitions, and it can't be null."""
    Upkeep(postgresql).prepare()
    keys = _ask(
        postgresql,
        "SELECT i.indexrelid::regclass::text, (SELECT array_agg(a.attname) FROM pg_attribute a "
        "WHERE a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey)) "
        "FROM pg_index i WHERE i.indisunique AND i.indrelid IN "
        "(SELECT relid FROM pg_partition_tree(CAST(:table AS regclass)) UNION SELECT CAST(:table AS regclass))",
        table=table,
    )
    assert all(_DISTRIBUTED[table] in columns for _, columns in keys), keys
    column = "SELECT attnotnull FROM pg_attribute WHERE attrelid = CAST(:table AS regclass) AND attname = :column"
    assert _ask(postgresql, column, table=table, column=_DISTRIBUTED[table]) == [(True,)]


def test_no_foreign_keys_and_no_sequences_on_them(postgresql: Store) -> None:
    """Partitions come and go without asking others, and no shard waits for a number from one place."""
    assert _ask(postgresql, "SELECT conname FROM pg_constraint WHERE contype = 'f'") == []
    defaults = "SELECT adrelid::regclass::text FROM pg_attrdef"
    assert not {name for (name,) in _ask(postgresql, defaults)} & _DISTRIBUTED.keys()


@pytest.mark.parametrize("table", ["recent", "sealed", "hourly", "daily"])
def test_what_grows_with_time_is_partitioned_by_it(postgresql: Store, table: str) -> None:
    """A range of time a partition, so that what is too old is dropped and not deleted."""
    Upkeep(postgresql).prepare()
    kind = "SELECT partstrat FROM pg_partitioned_table WHERE partrelid = CAST(:table AS regclass)"
    assert _ask(postgresql, kind, table=table) == [("r",)]
    assert _ask(postgresql, "SELECT 1 FROM pg_inherits WHERE inhparent = CAST(:table AS regclass)", table=table)
