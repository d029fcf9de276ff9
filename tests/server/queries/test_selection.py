"""Pages of GPUs are their listing cut up, by whatever means each page was found."""

import pytest
from gpufleet_server.domain.use import Use
from gpufleet_server.queries import gpus
from gpufleet_server.queries.filters import FleetFilter, GpuFilter
from gpufleet_server.store.engine import Store
from sqlalchemy import event

from tests.server.fleet import NOW, Fleet


def of_equals(fleet: Fleet) -> None:
    """Nodes that share hostnames, sites or neither, GPUs that share positions and values, or have none."""
    for number in range(10):
        node = fleet.node(f"n{number % 4}", site=("x", "y", None)[number % 3])
        for slot in range(number % 4):
            gpu = fleet.gpu(node, f"GPU-{number}-{slot}", position=slot or None, model="H100" if slot else None)
            # Every third is busy; the memory of a node without one is that of nobody.
            busy = {"gpu_utilization": 5000 * (slot % 2)} if number % 5 else {}
            fleet.sample(gpu, fb_used=number % 2, **busy)


@pytest.mark.parametrize("use", [[], [Use.FREE, Use.ACTIVE]])
@pytest.mark.parametrize(
    "sort", ["site", "-site", "hostname", "gpu_utilization", "-gpu_utilization", "fb_used", "model"]
)
def test_pages_are_the_listing_cut_up(store: Store, fleet: Fleet, sort: str, use: list[Use]) -> None:
    """Also where many GPUs are equal in all but their ids, and where a page ends among nodes of one name."""
    of_equals(fleet)
    with store.reading() as connection:
        whole = gpus.listing(connection, GpuFilter(use=use), NOW, limit=1000, sort=sort)
        for limit in (1, 4):
            found: list[str] = []
            cursor: str | None = None
            while cursor is not None or not found:
                page = gpus.listing(connection, GpuFilter(use=use), NOW, limit=limit, sort=sort, cursor=cursor)
                assert page.total == whole.total == len(whole.items)
                found += [gpu.uuid for gpu in page.items]
                cursor = page.next
            assert found == [gpu.uuid for gpu in whole.items]


def test_a_search_uses_its_indices(postgresql: Store) -> None:
    """PostgreSQL finds the beginning of a UUID or serial, in any case, by index."""
    fleet = Fleet(postgresql)
    fleet.gpu(fleet.node("alpha"), "GPU-1")
    asked = []
    with postgresql.reading() as connection:
        connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        event.listen(
            connection, "before_cursor_execute", lambda _c, _cursor, text, given, *_: asked.append((text, given))
        )
        (found,) = gpus.listing(connection, GpuFilter(q="gpu-1"), NOW, limit=1).items
        steps = [row[0] for text, given in list(asked) for row in connection.exec_driver_sql(f"EXPLAIN {text}", given)]
    assert found.uuid == "GPU-1"
    assert {name for name in ("uuid", "serial") if any(f"ix_gpus_{name}_begins" in step for step in steps)} == {
        "uuid",
        "serial",
    }


def test_a_filter_of_empty_lists_is_the_empty_one() -> None:
    """So that what comes over HTTP takes the same short ways as what is asked in Python."""
    assert GpuFilter(site=[], node=[], use=[], state=[]) == GpuFilter()
    assert FleetFilter(site=["a"], model=[]) == FleetFilter(site=("a",))
