"""PostgreSQL's views: those for whoever reads with psql, a row a GPU, or partition, and time; and those for Grafana."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from gpufleet_agent.catalogue import EVERY_SAMPLE
from sqlalchemy import Connection, text

from gpufleet_server.store.grafana.discovery import every_view
from gpufleet_server.store.grafana.view import SCHEMA
from gpufleet_server.store.tiers import DAILY, HOURLY
from gpufleet_server.store.unpacked import DURATION, ENDED, OF_PARTITIONS, Subject, points, samples

# Who was granted to read a view, as GRANT takes it.
_READERS = text(
    "SELECT DISTINCT CASE WHEN a.grantee = 0 THEN 'PUBLIC' ELSE quote_ident(r.rolname) END FROM pg_class c "
    "CROSS JOIN LATERAL aclexplode(c.relacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee "
    "WHERE c.oid = to_regclass(:name) AND a.privilege_type = 'SELECT' AND a.grantee <> c.relowner"
)
_THERE = text(
    "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
    "WHERE n.nspname = :schema AND c.relkind = 'v'"
)
# The first version had a table of such a name.
_IS_VIEW = text("SELECT 1 FROM pg_class WHERE oid = to_regclass(:name) AND relkind = 'v'")


def _subject(table: str, join: str, *names: str) -> Subject:
    time, metrics = f"to_timestamp({ENDED} / 1e6) AS ts", EVERY_SAMPLE if table == "gpus" else OF_PARTITIONS
    return Subject(table, join, (time, *names, f"{DURATION} AS duration"), metrics)


_NODE = "nodes.hostname AS node"
_GPU = _subject("gpus", "", "gpus.uuid AS gpu", _NODE, "gpus.gpu_id")
_PARTITION = _subject(
    "partitions",
    " LEFT JOIN gpus ON gpus.gpu_id = partitions.gpu_id",
    *("partitions.uuid AS partition", "gpus.uuid AS gpu", _NODE, "partitions.gpu_id"),
)


# By a view's name: the roles that may read it, as GRANT takes them.
Readers = Mapping[str, Sequence[str]]


def take_down(connection: Connection) -> Readers:
    """Remove all views, which would keep revisions from altering columns; who might read each, for `refresh`."""
    there = connection.execute(_THERE, {"schema": SCHEMA}).scalars().all()
    names = [f'{SCHEMA}."{name}"' for name in there]
    names += [name for name, _ in _views() if connection.execute(_IS_VIEW, {"name": name}).scalar() is not None]
    readers = {name.replace('"', ""): _readers(connection, name) for name in names}
    if names:
        # In one statement: one view may read another.
        connection.exec_driver_sql(f"DROP VIEW {', '.join(names)}")
    return readers


def refresh(connection: Connection, readers: Readers = MappingProxyType({})) -> None:
    """Make the views anew whose definition changed; whoever might read them, or one of `readers`, still may.

    Views of the schema `grafana` that this version does not know are removed: it is this project's alone.
    """
    connection.exec_driver_sql(f"CREATE SCHEMA IF NOT EXISTS {SCHEMA}")
    ours = {str(view): view.select for view in every_view().values()}
    for name in connection.execute(_THERE, {"schema": SCHEMA}).scalars().all():
        if f"{SCHEMA}.{name}" not in ours:
            connection.exec_driver_sql(f'DROP VIEW {SCHEMA}."{name}"')
    for name, select in (dict(_views()) | ours).items():
        _refresh(connection, name, select, readers.get(name, ()))


def _readers(connection: Connection, name: str) -> Sequence[str]:
    return connection.execute(_READERS, {"name": name}).scalars().all()


def _refresh(connection: Connection, name: str, select: str, before: Sequence[str]) -> None:
    digest = hashlib.sha256(select.encode()).hexdigest()[:16]
    query = text("SELECT obj_description(to_regclass(:name), 'pg_class')")
    if connection.execute(query, {"name": name}).scalar_one() != f"gpufleet {digest}":
        readers = {*before, *_readers(connection, name)}
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
        # The driver takes a % for one of its own marks.
        connection.exec_driver_sql(f"CREATE VIEW {name} AS {select.replace('%', '%%')}")
        connection.exec_driver_sql(f"COMMENT ON VIEW {name} IS 'gpufleet {digest}'")
        for reader in sorted(readers):
            connection.exec_driver_sql(f"GRANT SELECT ON {name} TO {reader}")


def _views() -> Iterator[tuple[str, str]]:
    for prefix, subject in (("", _GPU), ("partition_", _PARTITION)):
        yield f"{prefix}samples", samples(subject)
        yield f"{prefix}hourly_rollups", points(HOURLY, subject)
        yield f"{prefix}daily_rollups", points(DAILY, subject)
