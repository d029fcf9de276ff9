"""The newest sample of every GPU."""

from gpufleet_server.store.engine import Store
from gpufleet_server.store.newest import newest
from sqlalchemy import select

from tests.server.fleet import NOW, SECOND, Fleet


def test_newest_of_each_gpu(store: Store, fleet: Fleet) -> None:
    """A row a GPU of a node that was sampled: negative values stay, absent ones are NULL."""
    node = fleet.node("n1")
    a, b, c = (fleet.gpu(node, uuid) for uuid in ("GPU-a", "GPU-b", "GPU-c"))
    fleet.sample(a, power=3000, temperature_margin=-4, nvlink_tx_bytes=1 << 40)
    fleet.sample(a, NOW - 60 * SECOND, power=1)
    fleet.sample(c, NOW - 5 * SECOND, duration=5000, sm_active=10_000)
    metrics = ["power", "temperature_margin", "nvlink_tx_bytes", "sm_active"]
    with store.reading() as connection:
        rows = {row.gpu_id: tuple(row) for row in connection.execute(select(newest(metrics)))}
    assert rows == {
        a: (a, node, NOW, 10_000, 3000, -4, 1 << 40, None),
        b: (b, node, None, 0, None, None, None, None),
        c: (c, node, NOW - 5 * SECOND, 5000, None, None, None, 10_000),
    }
