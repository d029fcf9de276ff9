"""The plan of a simulated fleet."""

from gpufleet_server.simulate.faults import FaultKind
from gpufleet_server.simulate.plan import fleet
from hypothesis import given
from hypothesis import strategies as st

from tests.server.simulate.fleets import ORIGIN


@given(st.integers(0, 1 << 40), st.integers(1, 1000))
def test_a_fleet_has_the_gpus_it_was_asked_for(seed: int, gpus: int) -> None:
    """The nodes hold exactly the GPUs, and their ids and hostnames are their own."""
    nodes = fleet(seed, gpus, ORIGIN)
    assert sum(node.count for node in nodes) == gpus
    assert len({node.id for node in nodes}) == len(nodes)
    assert len({node.hostname for node in nodes}) == len(nodes)


def test_the_same_seed_plans_the_same_fleet() -> None:
    """Seed, size and origin decide everything; another seed gives other nodes."""
    assert fleet(5, 300, ORIGIN) == fleet(5, 300, ORIGIN)
    assert {node.id for node in fleet(5, 300, ORIGIN)}.isdisjoint(node.id for node in fleet(6, 300, ORIGIN))


def test_a_large_fleet_has_everything() -> None:
    """Several sites and models, partitioned GPUs, every kind of fault, and a clock that is wrong."""
    nodes = fleet(5, 1000, ORIGIN)
    assert len({node.site for node in nodes}) == 4
    assert len({node.model.name for node in nodes}) == 7
    assert any(node.partitioned for node in nodes)
    assert {fault.kind for node in nodes for fault in node.faults} == set(FaultKind)
    assert any(node.skew for node in nodes)


def test_a_fleet_without_faults_is_well() -> None:
    """No node has a fault or a wrong clock."""
    assert not any(node.faults or node.skew for node in fleet(5, 1000, ORIGIN, faults=False))
