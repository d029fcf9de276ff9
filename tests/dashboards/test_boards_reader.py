"""Whoever has only the reader's role runs all boards, and reads and changes nothing else."""

from typing import Any

import psycopg
import pytest
from gpufleet_server.store.grafana.discovery import every_view
from psycopg import Connection, sql

from tests.dashboards.fleet.world import World

pytestmark = pytest.mark.timeout(600)
_OF_KIND = "SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = ANY (%s)"
# What would make more of a reader, and what it would then do.
_CLIMBS = ["SET default_transaction_read_only = off", "SET TRANSACTION READ WRITE", "SET ROLE postgres", "RESET ROLE"]
_WRITES = [
    "INSERT INTO tokens (kind, name, hash, created_at) VALUES ('admin', 'x', 'y', 0)", "DELETE FROM alerts",
    "UPDATE nodes SET hostname = 'x'", "UPDATE grafana.nodes SET node = 'x'", "DELETE FROM grafana.events",
    "CREATE TABLE grafana.x (a int)", "CREATE TABLE public.x (a int)", "CREATE SCHEMA x", "DROP VIEW grafana.gpus",
    "CREATE FUNCTION grafana.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "ALTER ROLE CURRENT_USER SUPERUSER",
    "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql AS 'SELECT 1'", "COPY grafana.gpus TO PROGRAM 'cat'",
    "GRANT SELECT ON tokens TO CURRENT_USER", "COPY tokens TO STDOUT", "LOCK TABLE nodes", "TRUNCATE events",
    "SELECT pg_read_file('postgresql.conf')",
]  # fmt: skip
# Many views can't be written through at all, whoever tries.
_DENIED = (
    psycopg.errors.InsufficientPrivilege, psycopg.errors.ReadOnlySqlTransaction,
    psycopg.errors.ObjectNotInPrerequisiteState, psycopg.errors.FeatureNotSupported,
)  # fmt: skip


def _owner(world: World) -> Connection[Any]:
    return psycopg.connect(world.owner_url, autocommit=True)


def test_no_table_is_read(world: World) -> None:
    """Not one table, sequence or older view of the store, tokens among them: also where a query is made to climb."""
    with _owner(world) as owner:
        names = [name for (name,) in owner.execute(_OF_KIND, [["r", "p", "S", "v"]])]
    assert "tokens" in names
    with world.reading() as reader:
        for name in names:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                reader.execute(f"SELECT * FROM {name}".encode())


@pytest.mark.parametrize("climb", _CLIMBS)
def test_nothing_is_written(world: World, climb: str) -> None:
    """Whatever it sets for itself before."""
    for write in _WRITES:
        with world.reading() as reader:
            try:
                # As Grafana sends it: several statements in one message.
                reader.execute(f"{climb}; {write}".encode())
            except _DENIED:
                continue
        pytest.fail(f"{climb}; {write}: was done")


def test_no_view_tells_command_lines_or_tokens(world: World) -> None:
    """All that any view holds is looked through for what simulated processes are called, and for hashes of tokens."""
    commands = {holder.command for node in world.sent.nodes for holder, _ in node.usage if holder.command}
    assert {"python3", "jupyter-lab"} <= commands
    with world.reading() as reader:
        for view in every_view().values():
            told = reader.execute(sql.SQL("SELECT DISTINCT row_to_json(v)::text FROM {} v LIMIT 20000").format(
                sql.Identifier("grafana", view.name))).fetchall()  # fmt: skip
            for command in commands:
                assert not any(command in text for (text,) in told), f"{view} tells of {command}"
            assert not {"command", "hash", "uid", "cmdline"} & {column.name for column in view.columns}
