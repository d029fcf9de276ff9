"""What a person with psql sees: a row a GPU and time, values in their units."""

import datetime
import re
import secrets

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, Reason
from gpufleet_server.store import partitions, views
from gpufleet_server.store.blocks import Block, to_planes
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tiers import DAY, HOUR, HOURLY, SEALED, Tier, begin_of
from sqlalchemy import insert, text

from tests.server.fleet import NOW, SECOND, Fleet

_HOUR_AGO = begin_of(NOW, HOUR) - HOUR


def _at(ts: int) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(ts / 1e6, datetime.UTC)


def _put(store: Store, tier: Tier, node_id: int, span: int, block: Block) -> None:
    with store.writing() as connection:
        partitions.make_for(connection, tier.table, span)
        connection.execute(insert(tier.table).values(node_id=node_id, span=span, **to_planes(block, tier)))


def _block(step: int) -> Block:
    """Two GPUs, the second of which has no sample at the second time and no power at the third."""
    times = np.array([_HOUR_AGO + (n + 1) * step for n in range(3)])
    durations = np.array([[10_000, 10_000], [10_000, 0], [5_000, 5_000]])
    missing = BY_NAME["power"].absent(Reason.FAILED)
    columns = {
        "power": np.array([[3000, 4000], [3001, missing], [70_000, missing]]),
        "sm_active": np.array([[1234, 0], [10_000, 0], [55, 1]]),
        "energy": np.array([[30_000_000, 1], [2, 3], [4, 5]]),
    }
    uses = {name: np.full((3, 2), 1500) for name in ("active", "held", "unknown")} if step == HOUR else {}
    return Block(np.array([0, 1]), times, durations, columns | uses)


def test_samples_sealed_and_recent(postgresql: Store) -> None:
    """Both are in one view, each GPU's own, absent values NULL."""
    fleet = Fleet(postgresql)
    node = fleet.node("n1")
    a, b = fleet.gpu(node, "GPU-a"), fleet.gpu(node, "GPU-b")
    other = fleet.gpu(fleet.node("n2"), "GPU-other")
    fleet.sample(a, power=5000, temperature_margin=-3)
    fleet.sample(other, power=1)
    _put(postgresql, SEALED, node, _HOUR_AGO, _block(10 * SECOND))
    columns = "ts, node, duration, power, sm_active, energy, temperature_margin"
    query = f"SELECT {columns} FROM samples WHERE gpu = :gpu ORDER BY ts"
    with postgresql.reading() as connection:
        of_a = connection.execute(text(query), {"gpu": "GPU-a"}).all()
        of_b = connection.execute(text(query), {"gpu": "GPU-b"}).all()
    times = [_at(_HOUR_AGO + n * 10 * SECOND) for n in (1, 2, 3)]
    assert of_a == [
        (times[0], "n1", 10.0, 300.0, 12.34, 30_000.0, None),
        (times[1], "n1", 10.0, 300.1, 100.0, 0.002, None),
        (times[2], "n1", 5.0, 7000.0, 0.55, 0.004, None),
        (_at(NOW), "n1", 10.0, 500.0, None, None, -3),
    ]
    assert of_b == [(times[0], "n1", 10.0, 400.0, 0.0, 0.001, None), (times[2], "n1", 5.0, None, 0.01, 0.005, None)]
    assert a != b


def test_partitions_have_views_of_their_own(postgresql: Store) -> None:
    """With the metrics that partitions have; the views of GPUs know nothing of them."""
    fleet = Fleet(postgresql)
    node = fleet.node("n1")
    fleet.partition(fleet.gpu(node, "GPU-a"), "MIG-1", slot=1)
    _put(postgresql, SEALED, node, _HOUR_AGO, _block(10 * SECOND))
    _put(postgresql, HOURLY, node, begin_of(_HOUR_AGO + 1, DAY), _block(HOUR))
    with postgresql.reading() as connection:
        columns = "ts, gpu, node, duration, sm_active, fb_used"
        found = connection.execute(
            text(f"SELECT {columns} FROM partition_samples WHERE partition = 'MIG-1' ORDER BY ts")
        )
        rows = found.all()
        held = connection.execute(text("SELECT held FROM partition_hourly_rollups ORDER BY ts LIMIT 1")).scalar_one()
        gpus = connection.execute(text("SELECT DISTINCT gpu FROM samples")).scalars().all()
    times = [_at(_HOUR_AGO + n * 10 * SECOND) for n in (1, 3)]
    assert rows == [(times[0], "GPU-a", "n1", 10.0, 0.0, None), (times[1], "GPU-a", "n1", 5.0, 0.01, None)]
    assert (held, gpus) == (1.5, ["GPU-a"])


def test_slots_in_any_order(postgresql: Store) -> None:
    """A GPU's place in a block is where its slot is, also where that is not its number."""
    fleet = Fleet(postgresql)
    node = fleet.node("n1")
    fleet.gpu(node, "GPU-a"), fleet.gpu(node, "GPU-b"), fleet.gpu(node, "GPU-c")
    block = _block(10 * SECOND)
    block.slots[:] = [2, 0]
    _put(postgresql, SEALED, node, _HOUR_AGO, block)
    query = text("SELECT gpu, power FROM samples ORDER BY gpu, ts")
    with postgresql.reading() as connection:
        found = [tuple(row) for row in connection.execute(query)]
    assert found == [("GPU-a", 400.0), ("GPU-a", None), ("GPU-c", 300.0), ("GPU-c", 300.1), ("GPU-c", 7000.0)]


def test_hourly_rollups(postgresql: Store) -> None:
    """Points of hours say how long a GPU was active, held and of unknown use, in seconds."""
    fleet = Fleet(postgresql)
    node = fleet.node("n1")
    fleet.gpu(node, "GPU-a"), fleet.gpu(node, "GPU-b")
    _put(postgresql, HOURLY, node, begin_of(_HOUR_AGO + 1, DAY), _block(HOUR))
    with postgresql.reading() as connection:
        columns = "ts, duration, active, held, unknown, power"
        query = f"SELECT {columns} FROM hourly_rollups WHERE gpu = 'GPU-a' ORDER BY ts LIMIT 1"
        row = connection.execute(text(query)).one()
    assert row == (_at(_HOUR_AGO + HOUR), 10.0, 1.5, 1.5, 1.5, 300.0)


def test_one_gpu_is_found_by_its_index(postgresql: Store) -> None:
    """Asked for a GPU since a time, no row of another node or of before is read."""
    query = (
        "EXPLAIN SELECT power FROM samples WHERE gpu = 'GPU-a' "
        "AND span >= gpufleet_micros(to_timestamp(:hour) - interval '1 hour')"
    )
    node = Fleet(postgresql).node("n1")
    many = (
        "INSERT INTO gpus (node_id, slot, uuid, lost, identity, first_seen) "
        f"SELECT {node} + n / 8, n % 8, 'GPU-' || n, false, '{{}}', 1 FROM generate_series(0, 999) n"
    )
    with postgresql.writing() as connection:
        partitions.make_for(connection, SEALED.table, _HOUR_AGO)
        connection.execute(text(many))
        connection.execute(text("ANALYZE gpus"))
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(connection.execute(text(query), {"hour": _HOUR_AGO // SECOND}).scalars())
    assert plan.count("Index Scan using ix_gpus_uuid") == 2, plan
    assert re.search(r"Index Cond: \(\(node_id = \w+.node_id\) AND \(span >= ", plan), plan


def test_who_was_granted_to_read_may_still(postgresql: Store) -> None:
    """A view that is made anew for a new metric is read by the same roles as before."""
    role = f"Reader {secrets.token_hex(4)}"
    Fleet(postgresql).node("n1")
    with postgresql.writing() as connection:
        connection.execute(text(f'CREATE ROLE "{role}"'))
        connection.execute(text(f'GRANT SELECT ON samples TO "{role}"'))
        connection.execute(text("COMMENT ON VIEW samples IS 'of an older catalogue'"))
    with postgresql.writing() as connection:
        views.refresh(connection)
        connection.execute(text(f'SET LOCAL ROLE "{role}"'))
        assert connection.execute(text("SELECT count(*) FROM samples")).scalar_one() == 0
        connection.execute(text("RESET ROLE"))
        connection.execute(text(f'DROP OWNED BY "{role}"'))
        connection.execute(text(f'DROP ROLE "{role}"'))
