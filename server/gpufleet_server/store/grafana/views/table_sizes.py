"""The view `table_sizes`."""

from gpufleet_agent.catalogue import Unit

from gpufleet_server.store.grafana.view import Column, View
from gpufleet_server.store.tier_names import TITLES

_TITLES = " ".join(f"WHEN '{name}' THEN '{title}'" for name, title in TITLES.items())

# Tables and partitions of the schema that `nodes` is in; each with what it was cut from, or itself.
_SELECT = f"""
SELECT each.name::text AS table_name,
    (CASE each.name {_TITLES} ELSE replace(each.name, '_', ' ') END)::text AS title,
    sum(each.rows)::bigint AS rows, sum(each.bytes)::bigint AS bytes, sum(each.partition)::integer AS partitions
FROM (
    SELECT coalesce(parents.relname, tables.relname) AS name, (parents.oid IS NOT NULL)::integer AS partition,
        pg_total_relation_size(tables.oid) AS bytes,
        greatest(pg_stat_get_live_tuples(tables.oid),
            CASE WHEN pg_stat_get_tuples_inserted(tables.oid) = 0 THEN tables.reltuples ELSE 0 END)::bigint AS rows
    FROM pg_catalog.pg_class tables
    LEFT JOIN pg_catalog.pg_inherits ON inhrelid = tables.oid
    LEFT JOIN pg_catalog.pg_class parents ON parents.oid = inhparent
    WHERE tables.relkind = 'r'
        AND tables.relnamespace = (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = 'nodes'::regclass)
) each
GROUP BY each.name
"""

VIEW = View(
    "table_sizes",
    "A table of the database, its partitions added up. A few ms: its rows are PostgreSQL's own estimate.",
    (
        Column("table_name", "text", "The table."),
        Column("title", "text", "What people call it."),
        Column("rows", "bigint", "How many rows there are, by an estimate.", Unit.COUNT),
        Column("bytes", "bigint", "What it takes on disk, with its indices.", Unit.BYTE),
        Column("partitions", "integer", "How many partitions it has; 0: it has none.", Unit.COUNT),
    ),
    _SELECT.strip(),
)
