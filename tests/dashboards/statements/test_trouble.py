"""What went wrong in the fleet, of GPUs that went with it."""

from collections.abc import Iterator
from typing import Any

import pytest
from gpufleet_dashboards.query import Query
from gpufleet_dashboards.statements.trouble import counted_by_advice, offenders, waiting, xids
from gpufleet_server.store.engine import Store
from gpufleet_server.store.events import insert_events
from gpufleet_server.store.schema import gpus, nodes, states
from sqlalchemy import Connection, select

from tests.dashboards.grafana_sql.ask import sql
from tests.dashboards.grafana_sql.front import Asked, Range, Variable
from tests.server.fixtures import NewDatabase, new_postgresql

__all__ = ["new_postgresql"]

_SECOND, _HOUR = 1_000_000, 3_600_000_000
_PLACE = [Variable(name, ("(none)",), multi=True) for name in ("site", "model")]


@pytest.fixture
def database(new_postgresql: NewDatabase) -> Iterator[Connection]:
    """Two GPUs whose remap failed after an hour; the second was taken out after two."""
    told: dict[str, Any] = {"facts": {}, "first_seen": 0, "last_seen": 3 * _HOUR}
    store = Store.open(new_postgresql())
    with store.writing() as connection:
        node = {"node_id": 1, "uuid": "n", "hostname": "n", "interval_ms": 1000, "driver_state": "ok"}
        connection.execute(nodes.insert(), node | {"driver_since": 0} | told)
        for number, removed_at in ((1, None), (2, 2 * _HOUR)):
            gpu = {"gpu_id": number, "node_id": 1, "slot": number, "uuid": f"GPU-{number}", "identity": {}}
            connection.execute(gpus.insert(), gpu | {"first_seen": 0, "removed_at": removed_at})
            state = {"gpu_id": number, "metric": "remap_failed", "ts": _HOUR, "value": 1}
            connection.execute(states.insert(), state)
    with store.writing() as connection:
        yield connection
    store.close()


def _asked(query: Query, hours: int) -> str:
    return sql(query.sql, Asked(Range(0, hours * _HOUR // 1000), _PLACE)).sql.replace("%", "%%")


@pytest.mark.parametrize(("hours", "wait"), [(1, []), (2, ["GPU-1", "GPU-2"]), (3, ["GPU-1"])])
def test_a_board_that_was_replaced_waits_for_nobody(database: Connection, hours: int, wait: list[str]) -> None:
    """Nothing tells any more that it is well; it waits in ranges that end before it was taken out."""
    found = database.exec_driver_sql(_asked(waiting(), hours)).mappings()
    assert sorted(row["gpu"] for row in found) == wait


def _fault(gpu_id: int, ts: int, code: int | None = None) -> dict[str, Any]:
    kind = {"kind": "gpu_lost", "source": "agent"} if code is None else {"kind": "xid", "source": "nvml", "code": code}
    return {"node_id": 1, "gpu_id": gpu_id, "ts": ts, "detail": {}, "received_at": ts} | kind


def _offenders(database: Connection, *rows: dict[str, Any]) -> list[Any]:
    """What is told of them: which GPU, and how many faults, of which so many are grave."""
    for alike in (False, True):
        insert_events(database, [row for row in rows if ("code" in row) == alike])
    numbers = select(gpus.c.gpu_id, gpus.c.uuid)
    known = {uuid: gpu_id for gpu_id, uuid in database.execute(numbers)}
    found = database.exec_driver_sql(_asked(offenders(of_gpus=True), 1)).mappings()
    return [(known.get(row["gpu"]), row["faults"], row["grave"]) for row in found]


def _plan(database: Connection, query: Query) -> str:
    database.exec_driver_sql("SET LOCAL enable_seqscan = off")
    return "\n".join(database.exec_driver_sql(f"EXPLAIN {_asked(query, 3)}").scalars())


@pytest.mark.parametrize("query", [offenders(of_gpus=True), offenders(of_gpus=False), xids(), counted_by_advice()])
def test_faults_are_counted_from_their_index(database: Connection, query: Query) -> None:
    """What statements ask for is what it is of: of the table's other events nothing is read."""
    plan = _plan(database, query)
    assert "Index Only Scan using ix_events_faults" in plan
    assert "using ix_events_ts" not in plan


@pytest.mark.parametrize("of_gpus", [True, False])
def test_grave_ones_are_counted_from_their_index(database: Connection, of_gpus: bool) -> None:
    """Of faults that are mere ends of programs nothing is read, where others are enough."""
    assert "Index Only Scan using ix_events_grave" in _plan(database, offenders(of_gpus))


def test_bursts_of_a_minute_push_no_repeater_out(database: Connection) -> None:
    """However many GPUs were lost many times in one minute: the one that was lost in two is what is listed."""
    burst = [_fault(number, 30 * _SECOND) for number in range(2, 202) for _ in range(3)]
    lost = _fault(1, 10 * _SECOND), _fault(1, 70 * _SECOND)
    assert _offenders(database, *lost, *burst) == [(1, 2, 2)]


@pytest.mark.parametrize("grave", [60, 10])
def test_the_gravest_come_first(database: Connection, grave: int) -> None:
    """Those with grave faults before those with more of others, of which some are listed where there is room."""
    gpu = {"node_id": 1, "identity": {}, "first_seen": 0}
    rows = [gpu | {"gpu_id": n, "slot": n, "uuid": f"GPU-{n}"} for n in range(3, 100)]
    database.execute(gpus.insert(), rows)
    minutes = [n * 60 * _SECOND for n in range(9)]
    # Of the grave ones the one after the other has more faults.
    told = [_fault(3 + n, at, 79) for n in range(grave) for at in minutes[:2]]
    told += [_fault(3 + n, minutes[2 + n % 5], 13) for n in range(grave)]
    told += [_fault(3 + n, minutes[8], 13) for n in range(grave) if n % 2]
    mere = [_fault(63 + n, at, 13) for n in range(10) for at in minutes]
    found = _offenders(database, *told, *mere)
    expected = [(3 + n, 4 if n % 2 else 3, 2) for n in sorted(range(grave), key=lambda n: (-(n % 2), n))]
    expected += [(63 + n, 9, 0) for n in range(10)]
    assert found == expected[:50]
