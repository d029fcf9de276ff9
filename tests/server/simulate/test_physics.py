"""Every metric of a simulated GPU: there, in range, consistent, and the same each time."""

import dataclasses

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, ON_CHANGE, Reason
from gpufleet_server.simulate import models, physics
from gpufleet_server.simulate.faults import Fault, FaultKind
from gpufleet_server.simulate.models import MIG_ABSENT
from gpufleet_server.simulate.plan import SimNode, single_node
from hypothesis import given
from hypothesis import strategies as st

from tests.server.simulate.fleets import HEALTHY, ORIGIN, SECOND, healthy_nodes, nodes, times

MIB = 1 << 20


def sampled(node: SimNode, at: int, seconds: int = 10) -> physics.Stored:
    """One sample of a node."""
    return physics.samples(node, np.array([at]), np.array([seconds * 1000]))


def with_fault(fault: Fault) -> SimNode:
    """A node of eight H100 with one fault."""
    return dataclasses.replace(single_node(3, 8, "n"), faults=(fault,))


@given(nodes, times)
def test_every_metric_has_a_value_or_a_reason(node: SimNode, at: int) -> None:
    """A sample and the states together hold the whole catalogue, each in the range of its width."""
    found = sampled(node, at) | {name: column[None, :] for name, column in physics.states(node, at).items()}
    assert found.keys() == BY_NAME.keys()
    for name, column in found.items():
        assert column.shape == (1, node.count)
        assert (column >= BY_NAME[name].lowest).all()
        assert (column <= BY_NAME[name].highest).all()


@given(healthy_nodes, times)
def test_what_a_model_cannot_give_is_unsupported(node: SimNode, at: int) -> None:
    """Exactly the metrics that a model or its partitioning lacks are absent, none of them as 0."""
    for name, column in sampled(node, at).items():
        absent = [BY_NAME[name].reason(int(stored)) for stored in column[0]]
        lacking = Reason.UNSUPPORTED if name in node.model.absent else None
        partitioned = Reason.UNSUPPORTED if name in MIG_ABSENT else lacking
        assert absent == [partitioned] * node.partitioned + [lacking] * (node.count - node.partitioned)


@given(healthy_nodes, times)
def test_memory_adds_up(node: SimNode, at: int) -> None:
    """Used and free are the whole memory, and what is reserved is part of what is used."""
    found = sampled(node, at)
    assert ((found["fb_used"] + found["fb_free"]) * 1024 == node.model.memory * MIB).all()
    assert (found["fb_reserved"] <= found["fb_used"]).all()


@given(healthy_nodes, times, st.integers(1, 300))
def test_energy_is_power_over_the_interval(node: SimNode, at: int, seconds: int) -> None:
    """Energy in mJ is stored power (0.1 W) times the interval, within the rounding of a mJ."""
    found = sampled(node, at, seconds)
    if "energy" not in node.model.absent:
        assert (found["energy"] == found["power"] * 100 * seconds).all()


@given(healthy_nodes, times)
def test_power_and_heat_stay_in_bounds(node: SimNode, at: int) -> None:
    """Power is between idle and limit, the die at most a degree over its slowdown temperature, shares at most 100 %."""
    found = sampled(node, at)
    assert (found["power"] >= round(node.model.power_idle * 10)).all()
    assert (found["power"] <= node.model.power_limit * 10).all()
    assert (found["gpu_temperature"] <= node.model.slowdown + 1).all()
    assert (found["gpu_temperature"] + found["temperature_margin"] == node.model.slowdown).all()
    for metric in EVERY_SAMPLE:
        if metric.unit.symbol == "%":
            present = found[metric.name][found[metric.name] > metric.lowest + Reason.NOT_OBSERVED]
            assert ((present >= 0) & (present <= 10_000)).all()


@given(nodes, st.lists(times, min_size=1, max_size=5, unique=True))
def test_a_value_depends_on_nothing_but_node_and_time(node: SimNode, moments: list[int]) -> None:
    """Many times at once give what each alone gives, also from a plan made anew."""
    together = physics.samples(node, np.array(moments), np.full(len(moments), 10_000))
    again = dataclasses.replace(node)
    for row, at in enumerate(moments):
        alone = sampled(again, at)
        assert all((together[name][row] == alone[name][0]).all() for name in alone)


def test_jobs_differ() -> None:
    """Over a day a mixed node idles, is held idle, trains and serves."""
    found = physics.samples(single_node(3, 8, "n"), ORIGIN + np.arange(0, 86_400, 600) * SECOND, np.full(144, 10_000))
    busy, held = found["gpu_utilization"] > 5000, found["compute_processes"] > 0
    assert busy.any()
    assert (~busy & ~held).any()
    assert (~busy & held & (found["fb_used"] > 40 * MIB)).any()
    assert len(np.unique(found["power"])) > 100


def test_temperature_follows_power() -> None:
    """Over a day the hotter half of the samples draws far more power than the cooler one."""
    found = physics.samples(single_node(3, 8, "n"), ORIGIN + np.arange(0, 86_400, 600) * SECOND, np.full(144, 10_000))
    assert np.corrcoef(found["power"].ravel(), found["gpu_temperature"].ravel())[0, 1] > 0.95


def test_links_are_up() -> None:
    """A healthy GPU tells its true links and limit; they are no counts that begin at 0."""
    found = physics.states(single_node(3, 2, "n"), ORIGIN)
    told = {name: found[name].tolist() for name in ("pcie_link_generation", "pcie_link_width", "nvlink_links_up")}
    assert told == {"pcie_link_generation": [5, 5], "pcie_link_width": [16, 16], "nvlink_links_up": [18, 18]}
    assert found["power_limit"].tolist() == [7000, 7000]


def test_a_lost_gpu_gives_nothing_more() -> None:
    """From the moment it is lost every metric of that GPU is absent as lost, and of no other."""
    node = with_fault(Fault(FaultKind.LOST, ORIGIN, gpu=5))
    before, after = sampled(node, ORIGIN - 1), sampled(node, ORIGIN)
    states = physics.states(node, ORIGIN)
    for metric in (*EVERY_SAMPLE, *ON_CHANGE):
        row = after[metric.name][0] if metric.name in after else states[metric.name]
        assert [metric.reason(int(stored)) is Reason.LOST for stored in row] == [index == 5 for index in range(8)]
    assert not (before["power"] == BY_NAME["power"].absent(Reason.LOST)).any()


def test_a_hot_node_slows_down() -> None:
    """Where cooling fails, busy GPUs reach their slowdown temperature, say so, and run slower."""
    node = next(node for node in HEALTHY if node.use.name == "TRAINING" and node.model is models.H100)
    hot = dataclasses.replace(node, faults=(Fault(FaultKind.HOT, ORIGIN),))
    moments = ORIGIN + np.arange(3600, 86_400, 600) * SECOND
    well, ill = (physics.samples(one, moments, np.full(len(moments), 10_000)) for one in (node, hot))
    held = (ill["clock_event_reasons"] & 0x20) > 0
    assert held.any()
    assert (ill["sm_clock"][held] < well["sm_clock"][held]).all()
    assert (ill["temperature_margin"][held] <= 1).all()


def test_a_gpu_gets_no_hotter_than_it_lets_itself() -> None:
    """Also while the cooling fails: it slows down in time."""
    for node in (node for node in HEALTHY if node.use.name == "TRAINING"):
        hot = dataclasses.replace(node, faults=(Fault(FaultKind.HOT, ORIGIN),))
        moments = ORIGIN + np.arange(0, 1800, 10) * SECOND
        found = physics.samples(hot, moments, np.full(len(moments), 10_000))
        assert (found["temperature_margin"] >= -1).all()


def test_a_memory_error_leaves_its_traces() -> None:
    """After an uncorrected error the GPU counts it, has remapped a row, and waits for a reset."""
    node = with_fault(Fault(FaultKind.UNCORRECTED, ORIGIN, gpu=2))
    before, after = physics.states(node, ORIGIN - 1), physics.states(node, ORIGIN)
    for name in ("ecc_dram_uncorrected", "remapped_rows_uncorrectable", "remap_pending"):
        assert (after[name] - before[name]).tolist() == [0, 0, 1, 0, 0, 0, 0, 0]


@given(healthy_nodes, times, times)
def test_counters_never_go_back(node: SimNode, one: int, other: int) -> None:
    """The counts of a board's life only grow."""
    early, late = sorted((one, other))
    before, after = physics.states(node, early), physics.states(node, late)
    assert (after["ecc_dram_corrected"] >= before["ecc_dram_corrected"]).all()
