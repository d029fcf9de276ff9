"""What PostgreSQL is to know of what the views are filtered by.

Of `coalesce(site, '(none)')` it knows nothing by itself, expects next to no row, and then reads a fleet node by node.
"""

from collections.abc import Iterator

from sqlalchemy import ColumnElement, Connection, text

from gpufleet_server.store.grafana.fields import named, named_group
from gpufleet_server.store.grafana.view import text_of
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import fleet_groups
from gpufleet_server.store.usage import usage_places

_THERE = text("SELECT 1 FROM pg_statistic_ext WHERE stxname = :name AND stxrelid = CAST(:table AS regclass)")


def gather(connection: Connection) -> None:
    """Make the statistics that there are not yet, and gather them; PostgreSQL then keeps them up to date by itself."""
    new = set()
    for table, column, expression in _wanted():
        name = f"gpufleet_{table}_{column}"
        if connection.execute(_THERE, {"name": name, "table": table}).scalar() is None:
            connection.exec_driver_sql(f"CREATE STATISTICS {name} ON ({text_of(expression)}) FROM {table}")
            new.add(table)
    for table in sorted(new):
        connection.exec_driver_sql(f"ANALYZE {table}")


def _wanted() -> Iterator[tuple[str, str, ColumnElement[str]]]:
    for name in ("site", "rack", "driver_version"):
        yield "nodes", name, named(nodes.c[name])
    for name in ("model", "vbios_version"):
        yield "gpus", name, named(gpus.c[name])
    for table in (fleet_groups, usage_places):
        for name in ("site", "model"):
            yield table.name, name, named_group(table.c[name])
