"""Who uses simulated GPUs, and what for."""

import dataclasses
import itertools
from collections import Counter

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, Use
from gpufleet_agent.wire import Backlog, Holder, Report, Usage, decode, encode, unpack
from gpufleet_server.domain.use import metrics, use
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.faults import Fault, FaultKind
from gpufleet_server.simulate.identity import partition_parts
from gpufleet_server.simulate.plan import JOB_SECONDS, SimNode, fleet_of, single_node
from gpufleet_server.simulate.reports import Closed, Reporter, Sampled, grid
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.simulate.fleets import ORIGIN, SECOND, nodes

_DAY = 86_400 * SECOND
unhurried = settings(deadline=None, max_examples=30)


def reports(node: SimNode, ends: list[int], interval: int = 10_000) -> list[Report]:
    """The reports of one node that end then (s after ORIGIN), the first begins at ORIGIN."""
    reporter, found = Reporter(node, interval, ORIGIN), []
    for seq, (since, until) in enumerate(itertools.pairwise([0, *ends]), start=1):
        span = ORIGIN + since * SECOND, ORIGIN + until * SECOND
        sampled = Sampled(Boards.of([node]), grid(*span, interval), interval)
        report = reporter.report(Closed(seq, *span, Backlog()), sampled.samples(0, reporter, *span))
        report.holders, report.usage = sampled.usage(0, reporter, *span)
        found.append(report)
    return found


def pieces(found: list[Report]) -> list[tuple[Holder, Usage]]:
    """Each piece with its holder."""
    return [(report.holders[piece.holder], piece) for report in found for piece in report.usage]


@unhurried
@given(nodes, st.lists(st.integers(1, 4000), min_size=1, max_size=6, unique=True))
def test_it_survives_the_wire_and_is_no_more_than_there_was(node: SimNode, ends: list[int]) -> None:
    """No GPU's holders have more time than lies in its samples, and no piece more than it was there for."""
    for report in reports(node, sorted(ends)):
        assert decode(encode(report)) == report
        time = sum(sum(unpack(samples.durations, 4)) for samples in report.samples)
        spent: Counter[str] = Counter()
        for piece in report.usage:
            assert piece.active + piece.held <= piece.observed <= (piece.end - piece.begin) // 1000
            spent[piece.gpu] += piece.active + piece.held
        assert all(used <= time for used in spent.values())


@unhurried
@given(nodes, st.lists(st.integers(1, 2000), max_size=5, unique=True))
def test_it_is_the_same_however_reports_are_cut(node: SimNode, cuts: list[int]) -> None:
    """Sums of each holder on each GPU, to the ms."""
    steady = dataclasses.replace(node, faults=())

    def sums(ends: list[int]) -> Counter[tuple[object, ...]]:
        found: Counter[tuple[object, ...]] = Counter()
        for holder, piece in pieces(reports(steady, ends, 1000)):
            for name in ("observed", "active", "held"):
                found[(*holder.identity, piece.gpu, piece.partition, name)] += getattr(piece, name)
        return found

    assert sums(sorted({*cuts, 2001})) == sums([2001])


def test_it_says_of_the_samples_what_the_rule_says() -> None:
    """Active and held time are those of the metrics beside them, but for the sample in which a job begins."""
    (report,) = reports(single_node(3, 8, "n"), [600])
    (block,) = report.samples
    stored = {
        name: np.array(unpack(block.columns[name], BY_NAME[name].width)).reshape(-1, len(block.gpus))
        for name in metrics()
    }
    for gpu, column in zip(block.gpus, use(stored).T, strict=True):
        mine = [piece for piece in report.usage if piece.gpu == gpu]
        assert 0 <= (column == Use.ACTIVE).sum() * 10_000 - sum(piece.active for piece in mine) < 10_000
        assert 0 <= (column == Use.HELD).sum() * 10_000 - sum(piece.held for piece in mine) < 10_000


def test_a_job_of_a_rack_is_on_all_its_training_nodes() -> None:
    """One Slurm job, with one user, and it is over everywhere at once; after it comes another."""
    fleet = [node for node in fleet_of(1, 60, 8, ORIGIN, faults=False) if node.use.name == "TRAINING"]
    rack = [node for node in fleet if (node.site, node.rack) == (fleet[0].site, fleet[0].rack)]
    assert len(rack) > 1
    found = [pieces(reports(node, [10, 2 * JOB_SECONDS])) for node in rack]
    jobs = [[holder for holder, _ in each if holder.kind == "slurm"] for each in found]
    assert {holder.job for holder in jobs[0]} == {holder.job for each in jobs for holder in each}
    assert len({(holder.job, holder.user) for each in jobs for holder in each}) == len({h.job for h in jobs[0]}) >= 2


def test_a_fleet_has_all_there_is() -> None:
    """Each kind of holder and each team; some hold and do nothing, some memory is nobody's."""
    fleet = fleet_of(1, 48, 8, ORIGIN, faults=False)
    found = [one for node in fleet for one in pieces(reports(node, [600, 30_000], 60_000))]
    kinds = {holder.kind for holder, _ in found}
    assert kinds == {"slurm", "kubernetes", "container", "nobody"}
    assert {"pretrain", "search", "ads", "moderation"} <= {holder.account or holder.namespace for holder, _ in found}
    assert any(piece.held and not piece.active and holder.kind == "slurm" for holder, piece in found)
    assert any(holder.kind == "nobody" and piece.held and not piece.processes for holder, piece in found)
    desks = [node for node in fleet_of(1, 48, 2, ORIGIN, faults=False) if node.use.name == "DESK"]
    assert {holder.kind for node in desks for holder, _ in pieces(reports(node, [30_000], 60_000))} == {"unit"}


def test_partitions_have_pods_of_their_own() -> None:
    """Of which the driver tells memory, and neither activity nor use."""
    node = next(node for node in fleet_of(1, 12, 8, ORIGIN, faults=False) if node.partitioned)
    (report,) = reports(node, [600])
    cut = {name for gpu in range(node.partitioned) for name, _ in partition_parts(node, gpu)}
    found = [(holder, piece) for holder, piece in pieces([report]) if piece.partition]
    assert {piece.partition for _, piece in found} <= cut
    assert len({holder.pod_uid for holder, _ in found}) == len(found) > 1
    assert all((piece.active, piece.held, piece.activity) == (0, 0, None) and piece.memory for _, piece in found)


def test_a_lost_gpu_and_a_driver_that_hangs_have_no_holders() -> None:
    """Nobody is seen there meanwhile; who comes back begins anew."""
    lost = Fault(FaultKind.LOST, ORIGIN + 100 * SECOND, gpu=1)
    hung = Fault(FaultKind.DRIVER, ORIGIN + 200 * SECOND, ORIGIN + 300 * SECOND)
    training = next(node for node in fleet_of(1, 12, 8, ORIGIN, faults=False) if node.use.name == "TRAINING")
    found = [piece for _, piece in pieces(reports(dataclasses.replace(training, faults=(lost, hung)), [400]))]
    uuids = Reporter(training, 1, 0).uuids
    assert max(piece.end for piece in found if piece.gpu == uuids[1]) == ORIGIN + 90 * SECOND
    assert not [piece for piece in found if piece.begin < ORIGIN + 250 * SECOND < piece.end]
    assert any(piece.begin == ORIGIN + 290 * SECOND for piece in found)


def test_a_wrong_clock_shows_in_usage_too() -> None:
    """All of a node's times are by its own clock."""
    well = single_node(3, 8, "n")
    skewed = dataclasses.replace(well, skew=-90 * SECOND)
    for (_, one), (_, other) in zip(pieces(reports(well, [100])), pieces(reports(skewed, [100])), strict=True):
        assert (other.begin, other.end) == (one.begin - 90 * SECOND, one.end - 90 * SECOND)
