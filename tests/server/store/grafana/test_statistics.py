"""What PostgreSQL expects of filters on views, so that it does not read a fleet node by node."""

import json

import pytest
from gpufleet_server.store.engine import Store
from gpufleet_server.store.grafana import statistics
from gpufleet_server.store.grafana.view import View
from gpufleet_server.store.grafana.views import gpus, nodes
from sqlalchemy import text

_NODES = (
    "INSERT INTO nodes (node_id, uuid, hostname, site, simulated, interval_ms, driver_state, driver_since, "
    "driver_detail, clock_offset, clock_measured, backlog_reports, backlog_bytes, backlog_dropped, roster_digest, "
    "facts, first_seen, last_seen, version) SELECT n, 'node-' || n, 'n' || n, CASE n % 2 WHEN 0 THEN 'east' END, "
    "false, 1, 'ok', 1, '', 0, 0, 0, 0, 0, '', '{}', 1, 1, 0 FROM generate_series(1, 1000) n"
)
_GPUS = (
    "INSERT INTO gpus (node_id, slot, uuid, model, lost, identity, first_seen) "
    "SELECT 1 + n / 4, n % 4, 'GPU-' || n, CASE n % 2 WHEN 0 THEN 'H100' END, false, '{}', 1 "
    "FROM generate_series(0, 3999) n"
)


@pytest.fixture
def large(postgresql: Store) -> Store:
    """A fleet of which half is in the east, and half of another model."""
    with postgresql.writing() as connection:
        for statement in (_NODES, _GPUS, "ANALYZE nodes", "ANALYZE gpus"):
            connection.execute(text(statement))
    return postgresql


def _expected(store: Store, view: View, where: str) -> int:
    with store.reading() as connection:
        plan = connection.execute(text(f"EXPLAIN (FORMAT json) SELECT 1 FROM {view} WHERE {where}")).scalar_one()
    found = json.loads(plan) if isinstance(plan, str) else plan
    return int(found[0]["Plan"]["Plan Rows"])


@pytest.mark.parametrize(
    ("view", "where", "rows"),
    [
        (nodes.VIEW, "site = 'east'", 500),
        (nodes.VIEW, "site = '(none)'", 500),
        (gpus.VIEW, "model IN ('H100')", 2000),
        (gpus.VIEW, "site IN ('east', '(none)') AND model IN ('H100', '(none)')", 4000),
    ],
)
def test_half_of_a_fleet_is_expected_to_be_half(large: Store, view: View, where: str, rows: int) -> None:
    """By site and model, those without one included."""
    assert _expected(large, view, where) == pytest.approx(rows, rel=0.2)


def test_they_are_made_once(large: Store) -> None:
    """And are there after that."""
    query = text("SELECT oid FROM pg_statistic_ext WHERE stxname LIKE 'gpufleet%' ORDER BY oid")
    with large.writing() as connection:
        before = connection.execute(query).scalars().all()
        statistics.gather(connection)
        assert connection.execute(query).scalars().all() == before
    assert len(before) >= 7
