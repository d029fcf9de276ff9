"""The reports of a simulated node, cut anywhere."""

import dataclasses
import itertools

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, ON_CHANGE
from gpufleet_agent.wire import Backlog, Report, decode, digest, encode, unpack
from gpufleet_server.simulate import physics
from gpufleet_server.simulate.faults import Fault, FaultKind
from gpufleet_server.simulate.identity import gpu_uuid
from gpufleet_server.simulate.plan import SimNode, single_node
from gpufleet_server.simulate.reports import Reporter
from hypothesis import given
from hypothesis import strategies as st

from tests.server.simulate.fleets import ORIGIN, SECOND, nodes

# Lengths of reports in ms, a few minutes in all.
cuts = st.lists(st.integers(1, 30_000), min_size=1, max_size=20)


def reported(node: SimNode, lengths: list[int], interval: int = 1000) -> list[Report]:
    """Reports of these lengths, one after the other from ORIGIN on."""
    reporter = Reporter(node, interval, ORIGIN)
    ends = itertools.accumulate(lengths)
    return [reporter.report(ORIGIN + end * 1000, Backlog()) for end in ends]


def troubled() -> SimNode:
    """A node on which a lot happens in the first minute."""
    faults = (
        Fault(FaultKind.XID, ORIGIN + 3 * SECOND, gpu=1, code=31, every=7 * SECOND),
        Fault(FaultKind.DRIVER, ORIGIN + 20 * SECOND, ORIGIN + 35 * SECOND),
        Fault(FaultKind.LOST, ORIGIN + 40 * SECOND, gpu=6),
    )
    return dataclasses.replace(single_node(3, 8, "n"), faults=faults)


@given(nodes, cuts)
def test_reports_survive_the_wire(node: SimNode, lengths: list[int]) -> None:
    """What is encoded is decoded as it was, and sequence numbers only grow."""
    reports = reported(node, lengths)
    assert [decode(encode(report)) for report in reports] == reports
    assert [report.seq for report in reports] == list(range(1, len(reports) + 1))
    assert len({report.stream for report in reports}) == 1


@given(cuts)
def test_samples_are_the_same_however_reports_are_cut(lengths: list[int]) -> None:
    """Each time of the grid is in one report, with the values of the model."""
    node = single_node(3, 8, "n")
    blocks = [block for report in reported(node, lengths) for block in report.samples]
    times = [at for block in blocks for at in unpack(block.times, 8)]
    end = ORIGIN + sum(lengths) * 1000
    assert times == list(range(ORIGIN + SECOND, end + 1, SECOND))
    if times:
        truth = physics.samples(node, np.array(times), np.full(len(times), 1000))
        for name, column in truth.items():
            stored = [value for block in blocks for value in unpack(block.columns[name], BY_NAME[name].width)]
            assert stored == column.ravel().tolist()


@given(cuts)
def test_events_are_the_same_however_reports_are_cut(lengths: list[int]) -> None:
    """Each event is in one report, none is lost at a cut."""
    node = troubled()
    events = [event for report in reported(node, lengths) for event in report.events]
    whole = reported(node, [sum(lengths)])[0].events
    assert sorted(events, key=lambda e: (e.at, e.kind)) == sorted(whole, key=lambda e: (e.at, e.kind))


def test_a_driver_that_hangs_gives_no_samples() -> None:
    """While it hangs the report says so and holds no sample; both changes are events."""
    reports = reported(troubled(), [10_000] * 6)
    assert [report.driver.state for report in reports] == ["ok", "unresponsive", "unresponsive", "ok", "ok", "ok"]
    times = [at for report in reports for block in report.samples for at in unpack(block.times, 8)]
    assert not [at for at in times if ORIGIN + 20 * SECOND <= at < ORIGIN + 35 * SECOND]
    kinds = [event.kind for report in reports for event in report.events if event.kind.startswith("driver")]
    assert kinds == ["driver_unresponsive", "driver_recovered"]


def test_a_roster_is_sent_when_it_changes_or_is_wanted() -> None:
    """The first report has it, then only the one in which a GPU was lost, or after the server asked."""
    reporter = Reporter(troubled(), 1000, ORIGIN)
    reports = [reporter.report(ORIGIN + end * 10 * SECOND, Backlog()) for end in range(1, 7)]
    assert [report.roster is not None for report in reports] == [True, False, False, True, False, False]
    assert all(report.roster_digest == digest(report.roster) for report in reports if report.roster)
    reporter.want_roster()
    asked = reporter.report(ORIGIN + 70 * SECOND, Backlog())
    assert asked.roster is not None
    assert len(asked.states) == len(ON_CHANGE) * 8


def test_states_are_sent_once_and_when_they_change() -> None:
    """All at first, none while nothing changes, then only the GPU that changed."""
    node = dataclasses.replace(single_node(3, 8, "n"), faults=(Fault(FaultKind.LOST, ORIGIN + 100 * SECOND, gpu=6),))
    reports = reported(node, [61_000, 1000, 61_000])
    assert [len(report.states) for report in reports][:2] == [len(ON_CHANGE) * 8, 0]
    assert {state.gpu for state in reports[2].states} == {gpu_uuid(node, 6)}


def test_a_wrong_clock_shows_in_every_time_the_agent_tells() -> None:
    """Times are shifted, values are those of the true time."""
    well = single_node(3, 8, "n")
    skewed = dataclasses.replace(well, skew=-90 * SECOND)
    (one,), (other,) = reported(well, [10_000]), reported(skewed, [10_000])
    assert other.created.wall == one.created.wall - 90 * SECOND
    assert unpack(other.samples[0].times, 8) == [at - 90 * SECOND for at in unpack(one.samples[0].times, 8)]
    assert other.samples[0].columns == one.samples[0].columns


def test_the_next_event_is_known() -> None:
    """So that an agent can report it at once."""
    reporter = Reporter(troubled(), 1000, ORIGIN)
    assert reporter.next_event(ORIGIN + 10 * SECOND) == ORIGIN + 3 * SECOND
    reporter.report(ORIGIN + 3 * SECOND, Backlog())
    assert reporter.next_event(ORIGIN + 9 * SECOND) is None
    assert reporter.next_event(ORIGIN + 10 * SECOND) == ORIGIN + 10 * SECOND
