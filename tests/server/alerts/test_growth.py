"""What rules share: growth of counters, why a metric is absent, what most GPUs have in common, words for numbers."""

import pytest
from gpufleet_agent.catalogue import Reason
from gpufleet_server.alerts.growth import grown, summed
from gpufleet_server.alerts.limits import Limits
from gpufleet_server.alerts.peers import beside_the_usual, differs, of_nodes
from gpufleet_server.alerts.seen import REASON, seen_now
from gpufleet_server.alerts.sight import Sight
from gpufleet_server.alerts.wording import flags, level
from gpufleet_server.store.engine import Store
from sqlalchemy import BigInteger, func, literal, select

from tests.server.fleet import NOW, SECOND, Fleet


def _sight(store: Store, **limits: float) -> Sight:
    return Sight(NOW, Limits(limits), store.dialect)


@pytest.mark.parametrize(
    ("history", "now", "gained"),
    [
        ([(900, 5), (300, 8)], 8, 3),
        ([(900, 5), (300, 2)], 2, 2),
        ([(900, 5), (700, None), (300, 6)], 6, 1),
        ([(300, 40)], 40, 0),
        ([], 40, None),
    ],
    ids=["grew", "began anew", "was absent", "is known since then only", "was never told"],
)
def test_what_a_counter_gained(
    store: Store, fleet: Fleet, history: list[tuple[int, int | None]], now: int, gained: int | None
) -> None:
    """In the last ten minutes, over resets of the driver and times in which it was not told."""
    gpu_id = fleet.gpu(fleet.node("n"), "GPU-1")
    for ago, value in history:
        fleet.state(gpu_id, "pcie_replays", NOW - ago * SECOND, value, Reason.LOST if value is None else None)
    row = select(literal(gpu_id, BigInteger).label("gpu_id"), literal(now, BigInteger).label("pcie_replays")).subquery()
    wanted = grown(_sight(store), row, "pcie_replays", 600)
    with store.reading() as connection:
        found = connection.execute(select(wanted, summed(wanted, wanted)).select_from(row)).one()
    assert tuple(found) == (gained, 2 * (gained or 0))


def test_why_a_metric_is_absent(store: Store, fleet: Fleet) -> None:
    """From arrays and from the database; NULL where it is there."""
    node = fleet.node("n")
    stored = {"GPU-1": 5000, "GPU-2": -32768 + Reason.IMPLAUSIBLE, "GPU-3": -32768}
    for uuid, value in stored.items():
        fleet.sample(fleet.gpu(node, uuid), sm_active=value)
    with store.reading() as connection:
        for seen in (None, seen_now(connection, NOW, ["sm_active"])):
            sight = Sight(NOW, Limits({}), store.dialect, seen=seen)
            for where in (lambda g: g["sm_active" + REASON] == 3, lambda g: g["sm_active" + REASON].is_(None)):
                gpu = sight.observed("sm_active", reasons=["sm_active"], where=where)
                found = connection.execute(select(gpu.c.gpu, gpu.c.sm_active_reason)).all()
                assert len(found) == 1 and tuple(found[0]) in {("GPU-1", None), ("GPU-2", 3)}


def test_who_differs_from_most_of_its_kind(store: Store, fleet: Fleet) -> None:
    """One of five of a model at a site; not where a site has three, and not by what is unknown."""
    sites: dict[str, list[str | None]] = {"s1": [*["on"] * 4, "off", None], "s2": ["on", "on", "off"]}
    for site, modes in sites.items():
        for number, mode in enumerate(modes):
            node = fleet.node(f"{site}-{number // 4}", site=site)
            fleet.gpu(node, f"{site}-{number}", model="H100", identity={"ecc_mode": mode})
    sight = _sight(store, share=60, peers=4)
    gpu = sight.gpus()
    beside = beside_the_usual(gpu, gpu.c.identity["ecc_mode"].as_string())
    of = of_nodes(beside, func.max(beside.c.usual).label("usual"), which=differs(beside.c))
    with store.reading() as connection:
        which = connection.execute(select(beside.c.gpu, beside.c.most, beside.c.peers).where(differs(beside.c))).all()
        assert [tuple(row) for row in which] == [("s1-4", 4, 5)]
        assert [tuple(row) for row in connection.execute(select(of.c.hostname, of.c.gpus, of.c.usual))] == [
            ("s1-1", 1, "on")
        ]


def test_words_for_numbers(store: Store) -> None:
    """Flags by their names, levels by their words, and by their numbers where they have none."""
    number = literal(5, BigInteger)
    with store.reading() as connection:
        found = connection.execute(select(flags("fabric_trouble", number), level(number, {1: "one"}))).one()
    assert tuple(found) == ("degraded bandwidth, unhealthy route", "5")
