"""What gpufleet tells boards of itself."""

import secrets
import time
from typing import Any

from gpufleet_server.alerts.servers import Self
from gpufleet_server.domain import clock
from gpufleet_server.domain.server_name import server_name
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.own_minutes import MINUTE, OwnMinutes
from gpufleet_server.store import upkeep
from gpufleet_server.store.alerts import rule_runs
from gpufleet_server.store.engine import Store
from gpufleet_server.store.grafana.view import View
from gpufleet_server.store.grafana.views import rule_runs as runs
from gpufleet_server.store.grafana.views import server_minutes, servers, table_sizes
from gpufleet_server.store.reader import Reader, grant, revoke
from gpufleet_server.store.seal import seal_until
from sqlalchemy import insert, text

from tests.server.fleet import NOW, SECOND, Fleet


def _rows(store: Store, view: View, *names: str) -> list[dict[str, Any]]:
    listed = ", ".join(view[name] for name in names)
    with store.reading() as connection:
        return [dict(row) for row in connection.execute(text(f"SELECT {listed} FROM {view}")).mappings()]


def test_servers(postgresql: Store) -> None:
    """What one last told, as columns; what it did not tell is NULL."""
    facts = {"queued_reports": 7, "waited": 0.25, "sealing_overdue": None, "receiver": "mail", "receiver_failing": 90.5}
    now = clock.now()
    Self(postgresql, lambda: facts, now - 50 * SECOND).write(now)
    names = ("server", "started_at", "seen_at", "queued_reports", "waited_mean", "sealing_overdue", "receiver")
    (row,) = _rows(postgresql, servers.VIEW, *names, "receiver_failing", "seen_age")
    assert 0 <= row.pop("seen_age") < 60
    given = (server_name(), now - 50 * SECOND, now, 7.0, 0.25, None, "mail", 90.5)
    assert row == dict(zip((*names, "receiver_failing"), given, strict=True))


def test_minutes_of_servers(postgresql: Store) -> None:
    """What one did in a minute, in seconds and bytes."""
    now, ingest, kept = clock.now() // MINUTE * MINUTE, Statistics(), upkeep.Statistics(elected=True)
    times = iter([now, now + 60 * SECOND])
    minutes = OwnMinutes(postgresql, ingest, kept, lambda: next(times))
    ingest.body_bytes, ingest.usage, kept.sealed_until = 5000, 3, 0
    ingest.refuse(422)
    ingest.commit(0.5)
    minutes.write()
    names = ("at", "covered", "refused_content", "body_bytes", "usage_pieces", "commit_max", "waited_mean", "elected")
    (row,) = _rows(postgresql, server_minutes.VIEW, *names, "memory_used", "sealing_overdue")
    assert row.pop("memory_used") > 1 << 20
    assert row.pop("sealing_overdue") > 1e9
    assert row == dict(zip(names, (now, 60.0, 1, 5000, 3, 0.5, None, True), strict=True))


def test_runs_of_rules(postgresql: Store) -> None:
    """How each went last, but not what an error said: that may quote anything."""
    run = {
        "rule": "gpu_hot", "ran_at": NOW, "succeeded_at": None, "failures": 3, "error": "… 'secret' …", "seconds": 0.5,
        "found": 4, "held_back": 1, "held_since": NOW - 5, "fleet": 100, "wait": 300,
    }  # fmt: skip
    with postgresql.writing() as connection:
        connection.execute(insert(rule_runs).values(run))
    (row,) = _rows(postgresql, runs.VIEW, *(column.name for column in runs.VIEW.columns))
    told = (
        "rule",
        "ran_at",
        "succeeded_at",
        "succeeded_ts",
        "failures",
        "subjects",
        "found",
        "held_back",
        "wait_seconds",
    )
    assert tuple(row[name] for name in told) == ("gpu_hot", NOW, None, None, 3, 100, 4, 1, 300)
    assert "secret" not in str(row)


def test_sizes_of_tables(postgresql: Store) -> None:
    """As PostgreSQL counts them, partitions added up; a role that may read views alone is told, and at once."""
    upkeep.Upkeep(postgresql).prepare()
    node_id = Fleet(postgresql).node("alpha")
    gpu_id = Fleet(postgresql).gpu(node_id, "GPU-1")
    for minute in range(5):
        Fleet(postgresql).sample(gpu_id, NOW - minute * 60 * SECOND, power=100)
    seal_until(postgresql, NOW)
    reader = Reader(f"sizes_{secrets.token_hex(4)}")
    grant(postgresql, reader, None)
    with postgresql.writing() as connection:
        connection.exec_driver_sql("ANALYZE")
        connection.exec_driver_sql(f"SET LOCAL ROLE {reader.role}")
        began = time.monotonic()
        rows = {row.table_name: row for row in connection.execute(text(f"SELECT * FROM {table_sizes.VIEW}"))}
        took = time.monotonic() - began
    revoke(postgresql, reader)
    assert took < 5
    assert {"nodes", "sealed", "usage", "usage_fleet_hours", "tokens"} < rows.keys()
    assert not any(name[-1].isdigit() for name in rows)
    with postgresql.reading() as connection:
        size = "SELECT sum(pg_total_relation_size(relid)), count(*) FROM pg_partition_tree('sealed') WHERE isleaf"
        assert tuple(connection.execute(text(size)).one()) == (rows["sealed"].bytes, rows["sealed"].partitions)
        assert rows["nodes"].bytes == connection.execute(text("SELECT pg_total_relation_size('nodes')")).scalar()
    assert (rows["nodes"].rows, rows["nodes"].partitions, rows["sealed"].rows) == (1, 0, 1)
    assert (rows["sealed"].title, rows["alert_log"].title) == ("samples, sealed", "alert log")
