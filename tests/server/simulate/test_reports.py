"""The reports of simulated nodes, cut anywhere."""

import dataclasses
import itertools

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, ON_CHANGE
from gpufleet_agent.wire import Report, decode, digest, encode, unpack
from gpufleet_server.simulate import encoding, physics
from gpufleet_server.simulate.agent import SimAgent, Terms
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.cohort import Cohort
from gpufleet_server.simulate.faults import Fault, FaultKind
from gpufleet_server.simulate.identity import gpu_uuid
from gpufleet_server.simulate.link import Link
from gpufleet_server.simulate.outbox import Outbox
from gpufleet_server.simulate.plan import SimNode, fleet_of, single_node
from gpufleet_server.simulate.reports import Reporter, Sampled, grid
from gpufleet_server.simulate.statistics import Tally
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.simulate.fleets import ORIGIN, SECOND, nodes

# Lengths of reports in ms, a few minutes in all.
# Twenty reports take a while on a machine that does other things too.
unhurried = settings(deadline=None, max_examples=40)
cuts = st.lists(st.integers(1, 30_000), min_size=1, max_size=20)


class Node:
    """One node's agent and cohort, without a server: it keeps each report as it is closed."""

    def __init__(self, node: SimNode, interval: int = 1000, every: int = 1000) -> None:
        terms = Terms(Link("http://nowhere.invalid"), "", every * 1000, lambda _, __: None, lambda _, __: None)
        self.reporter = Reporter(node, interval, ORIGIN)
        self.agent = SimAgent(self.reporter, terms, Outbox(every * 1000, ORIGIN))
        self.cohort = Cohort([self.agent], interval, every * 1000, Tally())
        self.agent.asking = True

    def report(self, until: int) -> Report:
        """The report that ends then."""
        list(self.cohort.close(until))
        closed = next(self.agent.outbox.heads(1))
        times = grid(closed.since, closed.until, self.reporter.interval)
        blocks = Sampled(Boards.of([self.agent.node]), times, self.reporter.interval)
        report = self.reporter.report(closed, blocks.samples(0, self.reporter, closed.since, closed.until))
        self.agent.outbox.pop()
        return report


def reported(node: SimNode, lengths: list[int], interval: int = 1000) -> list[Report]:
    """Reports of these lengths, one after the other from ORIGIN on."""
    it = Node(node, interval)
    ends = (ORIGIN + length * 1000 for length in itertools.accumulate(lengths))
    # A node that is silent makes no report.
    return [it.report(end) for end in ends if not it.agent.silent(end)]


def troubled() -> SimNode:
    """A node on which a lot happens in the first minute."""
    faults = (
        Fault(FaultKind.XID, ORIGIN + 3 * SECOND, gpu=1, code=31, every=7 * SECOND),
        Fault(FaultKind.DRIVER, ORIGIN + 20 * SECOND, ORIGIN + 35 * SECOND),
        Fault(FaultKind.LOST, ORIGIN + 40 * SECOND, gpu=6),
    )
    return dataclasses.replace(single_node(3, 8, "n"), faults=faults)


@unhurried
@given(nodes, cuts)
def test_reports_survive_the_wire(node: SimNode, lengths: list[int]) -> None:
    """What is encoded is decoded as it was, and sequence numbers only grow."""
    reports = reported(node, lengths)
    assert [decode(encode(report)) for report in reports] == reports
    assert [report.seq for report in reports] == list(range(1, len(reports) + 1))
    assert len({report.stream for report in reports}) == 1


@unhurried
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


@unhurried
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
    it = Node(troubled())
    reports = [it.report(ORIGIN + end * 10 * SECOND) for end in range(1, 7)]
    assert [report.roster is not None for report in reports] == [True, False, False, True, False, False]
    assert all(report.roster_digest == digest(report.roster) for report in reports if report.roster)
    it.agent.want_roster()
    asked = it.report(ORIGIN + 70 * SECOND)
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
    """So that an agent can report it at once: repeated faults, a driver's end, and at last the lost GPU."""
    reporter, at, found = Reporter(troubled(), 1000, ORIGIN), ORIGIN, []
    while (after := reporter.next_event(at)) is not None and after < ORIGIN + 41 * SECOND:
        found.append((after - ORIGIN) // SECOND)
        at = after
    assert found == [3, 10, 17, 20, 24, 31, 35, 38, 40]
    events = reporter.events(ORIGIN, ORIGIN + 40 * SECOND)
    assert [(event.at - ORIGIN) // SECOND for event in events] == found
    quiet = Reporter(single_node(3, 8, "n"), 1000, ORIGIN)
    assert quiet.next_event(ORIGIN) is None


@unhurried
@given(st.integers(0, 1000), st.integers(1, 6), st.integers(1, 20))
def test_many_nodes_at_once_give_what_each_alone_gives(seed: int, nodes: int, seconds: int) -> None:
    """A batch over nodes of all models holds, to the byte, what each of them would sample by itself."""
    planned = fleet_of(seed, nodes, 8, ORIGIN - 60 * SECOND)
    until = ORIGIN + seconds * SECOND
    times = grid(ORIGIN, until, 1000)
    together = Sampled(Boards.of(planned), times, 1000)
    for number, node in enumerate(planned):
        reporter, alone = Reporter(node, 1000, ORIGIN), Sampled(Boards.of([node]), times, 1000)
        assert together.samples(number, reporter, ORIGIN, until) == alone.samples(0, reporter, ORIGIN, until)
        assert together.values(number, reporter, ORIGIN, until) == alone.values(0, reporter, ORIGIN, until)


def test_values_are_those_that_are_there() -> None:
    """Absent values do not count, whether a model lacks the metric or the GPU was lost."""
    for node in (*fleet_of(3, 12, 8, ORIGIN, faults=False), troubled()):
        until = ORIGIN + 60 * SECOND
        sampled, reporter = Sampled(Boards.of([node]), grid(ORIGIN, until, 1000), 1000), Reporter(node, 1000, ORIGIN)
        (block,) = sampled.samples(0, reporter, ORIGIN, until)
        there = sum(
            BY_NAME[name].reason(stored) is None
            for name, column in block.columns.items()
            for stored in unpack(column, BY_NAME[name].width)
        )
        assert sampled.values(0, reporter, ORIGIN, until) == there


@unhurried
@given(nodes, cuts)
def test_the_quickest_coding_is_the_wires(node: SimNode, lengths: list[int]) -> None:
    """What simulated agents send is decoded as any agent's report is."""
    reports = reported(node, lengths)
    assert [decode(encoding.encode(report)) for report in reports] == reports
