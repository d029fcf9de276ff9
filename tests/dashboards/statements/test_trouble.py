"""What went wrong in the fleet, of GPUs that went with it."""

from collections.abc import Iterator
from typing import Any

import pytest
from gpufleet_dashboards.query import Query
from gpufleet_dashboards.statements.trouble import offenders, waiting
from gpufleet_server.store.engine import Store
from gpufleet_server.store.events import insert_events
from gpufleet_server.store.schema import gpus, nodes, states
from sqlalchemy import Connection

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


def test_bursts_of_a_minute_push_no_repeater_out(database: Connection) -> None:
    """However many GPUs were lost many times in one minute: the one that was lost in two is what is listed."""
    burst = [(number, 30 * _SECOND) for number in range(2, 202) for _ in range(3)]
    rows = [
        {
            "node_id": 1,
            "gpu_id": gpu_id,
            "ts": ts,
            "kind": "gpu_lost",
            "source": "agent",
            "detail": {},
            "received_at": ts,
        }
        for gpu_id, ts in [(1, 10 * _SECOND), (1, 70 * _SECOND), *burst]
    ]
    insert_events(database, rows)
    found = database.exec_driver_sql(_asked(offenders(of_gpus=True), 1)).mappings()
    assert [(row["gpu"], row["faults"]) for row in found] == [("GPU-1", 2)]
