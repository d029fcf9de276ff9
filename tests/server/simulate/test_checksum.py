"""The checksum of samples and events."""

import dataclasses

import msgspec
import numpy as np
from gpufleet_agent.catalogue import EVERY_SAMPLE, Reason
from gpufleet_agent.wire import Ack, Backlog, Event, Samples, decode, encode
from gpufleet_server.simulate.agent import Sent
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.checksum import Checksum, Ledger, gpu_keys, of_block, of_event, of_samples
from gpufleet_server.simulate.faults import Fault, FaultKind
from gpufleet_server.simulate.plan import single_node
from gpufleet_server.simulate.reports import Closed, Reporter, Sampled, grid
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.server.simulate.fleets import ORIGIN, SECOND

NODE = single_node(3, 4, "n")
Rows = tuple[NDArray[np.int64], NDArray[np.int64]]


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    """Times and stored integers of a few samples of four GPUs."""
    times = draw(st.lists(st.integers(0, 1 << 61), min_size=2, max_size=5, unique=True))
    seed = draw(st.integers(0, 1 << 32))
    drawn = np.random.default_rng(seed).integers(-(1 << 63), (1 << 63) - 1, (len(EVERY_SAMPLE), len(times), 4))
    small = draw(st.booleans())
    return np.array(times), drawn // (1 << 60) if small else drawn


KEYS = gpu_keys(NODE.id, ["a", "b", "c", "d"])


@given(rows(), st.integers(0, 1000))
def test_order_and_cuts_make_no_difference(given_rows: Rows, chance: int) -> None:
    """Row by row in any order, GPU by GPU, or all at once: the same."""
    times, stored = given_rows
    whole = of_samples(KEYS, times, stored)
    assert whole.rows == len(times) * 4
    order = np.random.default_rng(chance).permutation(len(times))
    assert of_samples(KEYS, times[order], stored[:, order]) == whole
    single = Checksum()
    for row in order:
        for gpu in (3, 1, 0, 2):
            single += of_samples(KEYS[gpu : gpu + 1], times[row : row + 1], stored[:, row : row + 1, gpu : gpu + 1])
    assert single == whole
    assert whole - single == Checksum()


@given(rows(), st.integers(0, len(EVERY_SAMPLE) - 1), st.integers(0, 3), st.integers(1, 1 << 62))
def test_any_change_is_noticed(given_rows: Rows, metric: int, gpu: int, by: int) -> None:
    """Another value, another time, two values exchanged, a row lost, a row doubled, or one lost and one doubled."""
    times, stored = given_rows
    whole = of_samples(KEYS, times, stored)
    changed = stored.copy()
    changed[metric, 0, gpu] ^= by
    assert of_samples(KEYS, times, changed) != whole
    assert of_samples(KEYS, times + np.arange(len(times)) + 1, stored) != whole
    row = of_samples(KEYS[:1], times[:1], stored[:, :1, :1])
    other = of_samples(KEYS[1:2], times[1:2], stored[:, 1:2, 1:2])
    assert len({whole, whole - row, whole + row, whole - row + other}) == 4
    if stored[metric, 0, 0] != stored[metric, 0, 1]:
        exchanged = stored.copy()
        exchanged[metric, 0, [0, 1]] = exchanged[metric, 0, [1, 0]]
        assert of_samples(KEYS, times, exchanged) != whole


@given(st.integers(1, 30), st.sampled_from([metric.name for metric in EVERY_SAMPLE]))
def test_a_block_of_the_wire_is_its_arrays(seconds: int, lacking: str) -> None:
    """Columns as bytes give what their integers do; one that is not there is not observed."""
    until = ORIGIN + seconds * SECOND
    sampled, reporter = Sampled(Boards.of([NODE]), grid(ORIGIN, until, 1000), 1000), Reporter(NODE, 1000, ORIGIN)
    (block,) = sampled.samples(0, reporter, ORIGIN, until)
    del block.columns[lacking]
    stored = np.array([_column(block, number) for number in range(len(EVERY_SAMPLE))])
    keys = gpu_keys(NODE.id, block.gpus)
    assert of_block(NODE.id, block) == of_samples(keys, np.frombuffer(block.times, "<i8"), stored)
    assert of_block("another node", block) != of_block(NODE.id, block)


def _column(block: Samples, number: int) -> NDArray[np.int64]:
    metric, shape = EVERY_SAMPLE[number], (len(block.times) // 8, len(block.gpus))
    if metric.name not in block.columns:
        return np.full(shape, metric.absent(Reason.NOT_OBSERVED), np.int64)
    return np.frombuffer(block.columns[metric.name], f"<i{metric.width}").astype(np.int64).reshape(shape)


def test_every_field_of_an_event_counts() -> None:
    """Two events that differ in anything have different checksums."""
    event = Event(at=1, kind="xid", gpu="g", code=79, source="nvml", message="m", detail={"a": 1})
    others = [("at", 2), ("kind", "x"), ("gpu", None), ("code", 78), ("source", "s"), ("message", ""), ("detail", {})]
    different = {of_event("n", event), of_event("o", event)}
    for field, value in others:
        one = Event(at=1, kind="xid", gpu="g", code=79, source="nvml", message="m", detail={"a": 1})
        different.add(of_event("n", _changed(one, field, value)))
    assert len(different) == len(others) + 2


def _changed(event: Event, field: str, value: object) -> Event:
    return msgspec.structs.replace(event, **{field: value})


def test_a_ledger_adds_up_what_was_committed() -> None:
    """Its checksums are those of all blocks and events of the bodies it was told of."""
    node = dataclasses.replace(NODE, faults=(Fault(FaultKind.XID, ORIGIN, gpu=1, code=31, every=SECOND),))
    reporter, ledger, expected = Reporter(node, 1000, ORIGIN), Ledger(), Checksum()
    for seq in range(1, 4):
        since, until = ORIGIN + (seq - 1) * 5 * SECOND, ORIGIN + seq * 5 * SECOND
        sampled = Sampled(Boards.of([node]), grid(since, until, 1000), 1000)
        closed = Closed(seq, since, until, Backlog())
        body = encode(reporter.report(closed, sampled.samples(0, reporter, since, until)))
        ack = Ack(seq=seq, duplicate=seq == 2, roster_wanted=False, clock_offset=0, server_time=0)
        ledger(Sent(node.id, reporter.stream, seq, 20, 0, 5, body), ack)
        for block in decode(body).samples:
            expected += of_block(node.id, block)
    assert (ledger.samples, ledger.samples.rows, ledger.events.rows, ledger.duplicates) == (expected, 60, 15, 1)
