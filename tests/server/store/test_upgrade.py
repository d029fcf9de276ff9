"""A store that an earlier version made comes with all it holds. The files in `previous` were made by those versions."""

import gzip
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, ON_CHANGE
from gpufleet_server.queries.latest import newest_states
from gpufleet_server.store.engine import Store
from gpufleet_server.store.latest_states import latest_states, since, value
from gpufleet_server.store.migrate import migrate, upgrade
from gpufleet_server.store.newest import newest
from gpufleet_server.store.schema import gpus
from sqlalchemy import MetaData, Table, inspect, select, text

from tests.server import stored

_PREVIOUS = Path(__file__).parent / "previous"
# Metrics of later versions were not observed then.
_LATER = "clocks_held_by_"
_NAMES = [metric.name for metric in EVERY_SAMPLE if not metric.name.startswith(_LATER)]
_Rows = list[dict[str, Any]]


@pytest.fixture
def previous(tmp_path: Path) -> Path:
    """The store of version 0.1.0 of issue 2: four nodes of a simulated fleet, with faults and ten silent minutes."""
    path = tmp_path / "previous.db"
    path.write_bytes(gzip.decompress((_PREVIOUS / "r0001.db.gz").read_bytes()))
    path.chmod(0o600)
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, previous: Path, tmp_path: Path) -> Iterator[Store]:
    """That store, as it is or with its rows in the first tables on PostgreSQL; not migrated yet."""
    if request.param == "sqlite":
        copy = tmp_path / "old.db"
        copy.write_bytes(previous.read_bytes())
        opened = Store.open(f"sqlite:///{copy}")
    else:
        opened = Store.open(request.getfixturevalue("postgres_database"))
        _fill(opened, previous)
    yield opened
    opened.close()


def _fill(store: Store, previous: Path) -> None:
    source = Store.open(f"sqlite:///{previous}")
    with store.writing() as connection:
        upgrade(connection, "0001")
        for name in set(inspect(connection).get_table_names()) - {"alembic_version"}:
            table = Table(name, MetaData(), autoload_with=connection)
            with source.reading() as reading:
                same = select(Table(name, MetaData(), autoload_with=reading, resolve_fks=False))
                if rows := [dict(row) for row in reading.execute(same).mappings()]:
                    connection.execute(table.insert(), rows)
    source.close()


def _rows(path: Path, query: str) -> _Rows:
    connection = sqlite3.connect(path)
    connection.row_factory = sqlite3.Row
    found = [dict(row) for row in connection.execute(query)]
    connection.close()
    return found


def test_every_sample_comes_along(old: Store, previous: Path) -> None:
    """The same GPUs, times, durations and values, with the reasons of absent ones that were in force."""
    before = _rows(previous, "SELECT gpus.uuid, samples.* FROM samples JOIN gpus USING (gpu_id)")
    reasons = _rows(previous, "SELECT g.uuid, s.* FROM states s JOIN gpus g USING (gpu_id) ORDER BY s.ts")
    migrate(old)
    after = {(sample.gpu, sample.ts): sample for sample in stored.every(old)}
    assert len(after) == len(before) == 2560
    for row in before:
        sample = after[row["uuid"], row["ts"]]
        assert sample.duration == row["duration"]
        assert {name: sample.values[name] for name in _NAMES} == {name: row[name] for name in _NAMES}
        absent = {name: int(why) for name, why in sample.reasons.items() if not name.startswith(_LATER)}
        assert absent == _in_force(reasons, row)


def _in_force(states: _Rows, row: dict[str, Any]) -> dict[str, int]:
    there = (s for s in states if s["uuid"] == row["uuid"] and s["ts"] <= row["ts"] and s["metric"] in _NAMES)
    newest = {state["metric"]: state["reason"] for state in there}
    return {name: newest[name] for name in _NAMES if row[name] is None}


def test_the_newest_samples_come_along(old: Store, previous: Path) -> None:
    """What is known of each GPU now is what was known before."""
    query = "SELECT s.* FROM samples s JOIN gpus g ON g.gpu_id = s.gpu_id AND g.last_sample = s.ts"
    before = {row["gpu_id"]: row for row in _rows(previous, query)}
    migrate(old)
    with old.reading() as connection:
        after = connection.execute(select(newest(_NAMES))).mappings().all()
    assert {row["gpu_id"]: {name: row[name] for name in ("ts", "duration", *_NAMES)} for row in after} == {
        gpu_id: {name: row[name] for name in ("ts", "duration", *_NAMES)} for gpu_id, row in before.items()
    }


def test_what_is_in_force_is_that_of_the_newest_states(old: Store) -> None:
    """Each GPU's metrics that are sent on change: value, or none, and since when."""
    migrate(old)
    names = [metric.name for metric in ON_CHANGE]
    parts = [part for name in names for part in (value(BY_NAME[name]), since(BY_NAME[name]))]
    with old.reading() as connection:
        ids = list(connection.execute(select(gpus.c.gpu_id)).scalars())
        wanted = newest_states(connection, ids, names)
        tables = gpus.join(latest_states, latest_states.c.node_id == gpus.c.node_id)
        rows = connection.execute(select(gpus.c.gpu_id, *parts).select_from(tables)).all()
    found = {
        (gpu_id, name): (told[2 * n], told[2 * n + 1])
        for gpu_id, *told in rows
        for n, name in enumerate(names)
        if told[2 * n + 1]
    }
    assert found == {key: (state.value, state.ts) for key, state in wanted.items()}
    assert len(found) > 100


@pytest.mark.parametrize("table", ["nodes", "streams", "gpus", "partitions", "states", "events", "tokens"])
def test_the_rest_stays(old: Store, previous: Path, table: str) -> None:
    """Rows of other tables are as they were, but for columns that are new."""
    before = _rows(previous, f"SELECT * FROM {table}")
    migrate(old)
    with old.reading() as connection:
        found = select(Table(table, MetaData(), autoload_with=connection))
        names = before[0].keys() if before else set()
        rows = connection.execute(found).mappings()
        after = [{name: value for name, value in row.items() if name in names} for row in rows]
    assert len(after) == len(before)
    assert {_plain(row) for row in after} == {_plain(row) for row in before}


def _plain(row: dict[str, Any]) -> str:
    """A row without its JSON, which each engine gives in its own form."""
    gone = ("last_sample", "identity", "facts", "detail")
    return str({name: int(v) if isinstance(v, bool) else v for name, v in sorted(row.items()) if name not in gone})


def test_slots_count_from_zero_in_each_node(old: Store) -> None:
    """Each node's GPUs are numbered without a gap."""
    migrate(old)
    with old.reading() as connection:
        counted = text("SELECT node_id, count(*), min(slot), max(slot) FROM gpus GROUP BY node_id")
        for _, count, least, most in connection.execute(counted):
            assert (least, most) == (0, count - 1)


def test_partitions_get_slots_behind_those_of_gpus(old: Store) -> None:
    """In the node of their GPU, each its own."""
    with old.writing() as connection:
        gpus = connection.execute(text("SELECT gpu_id, node_id FROM gpus ORDER BY gpu_id")).all()
        for gpu_id, _ in gpus:
            for name in ("MIG-a", "MIG-b"):
                row = {"gpu": gpu_id, "uuid": f"{name}-{gpu_id}"}
                insert = "INSERT INTO partitions (gpu_id, uuid, facts, first_seen) VALUES (:gpu, :uuid, '{}', 7)"
                connection.execute(text(insert), row)
    migrate(old)
    with old.reading() as connection:
        moved = connection.execute(
            text("SELECT node_id, slot, gpu_id, uuid FROM partitions ORDER BY node_id, slot")
        ).all()
        taken = connection.execute(text("SELECT node_id, slot FROM gpus")).all()
    node_of = {row.gpu_id: row.node_id for row in gpus}
    assert len(moved) == 2 * len(gpus)
    assert all(node_of[gpu_id] == node_id for node_id, _, gpu_id, _ in moved)
    slots = {node: sorted(slot for n, slot, *_ in moved if n == node) for node in node_of.values()}
    for node, those in slots.items():
        first = 1 + max(slot for n, slot in taken if n == node)
        assert those == list(range(first, first + len(those)))
