"""States in SQL and in Python are the same."""

from collections.abc import Iterator

import pytest
from gpufleet_server.domain.state import GpuState, gpu_state, node_state, silent_after
from gpufleet_server.queries import condition
from gpufleet_server.store.schema import gpus, metadata, nodes
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, create_engine, insert, literal, select

from tests.server.fleet import NOW

INTERVALS = st.integers(100, 3_600_000)
DRIVERS = st.sampled_from(["ok", "unresponsive", "absent", "failed", "paused"])


@pytest.fixture(scope="module")
def connection() -> Iterator[Connection]:
    """A database with one node and one GPU, which tests overwrite."""
    engine = create_engine("sqlite://")
    metadata.create_all(engine)
    with engine.connect() as open_connection:
        yield open_connection
    engine.dispose()


def put(connection: Connection, interval: int, driver: str, last_seen: int, lost: bool, removed: bool) -> None:
    """Make the tables hold just this."""
    connection.execute(nodes.delete())
    connection.execute(gpus.delete())
    node = {"node_id": 1, "uuid": "n", "hostname": "h", "interval_ms": interval, "driver_state": driver}
    times = {"driver_since": 0, "first_seen": 0, "last_seen": last_seen}
    connection.execute(insert(nodes).values(node | times | {"facts": {}}))
    gpu = {"gpu_id": 1, "node_id": 1, "slot": 0, "uuid": "g", "lost": lost, "removed_at": 5 if removed else None}
    connection.execute(insert(gpus).values(gpu | {"identity": {}, "first_seen": 0}))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
@given(INTERVALS, DRIVERS, st.integers(-3, 3), st.booleans(), st.booleans())
def test_sql_and_python_agree(
    connection: Connection, interval: int, driver: str, around: int, lost: bool, removed: bool
) -> None:
    """Also to the µs at which a node begins to count as silent, and for every interval."""
    silence = silent_after(interval) + around
    put(connection, interval, driver, NOW - silence, lost, removed)
    joined = gpus.join(nodes, gpus.c.node_id == nodes.c.node_id)
    row = connection.execute(
        select(condition.node_state(NOW), condition.gpu_state(NOW), condition.tolerance()).select_from(joined)
    ).one()
    node = node_state(driver, interval, silence)
    assert tuple(row) == (node, gpu_state(node, lost=lost, removed=removed), silent_after(interval))


def test_severity_follows_the_states(connection: Connection) -> None:
    """Each state stands higher than the one before it."""
    ranks = [connection.scalar(select(condition.severity(literal(state.value)))) for state in GpuState]
    assert ranks == list(range(len(GpuState)))
