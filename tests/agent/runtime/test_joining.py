"""Joined reports: what goes together, what does not, and that nothing of it is lost on the way."""

import uuid
from typing import Any

import pytest
from gpufleet_agent.runtime import joining
from gpufleet_agent.runtime.clock import boot_id, wall
from gpufleet_agent.runtime.joining import Joined
from gpufleet_agent.wire import (
    MAX_JOINED_BYTES,
    MAX_JOINED_CELLS,
    PROTOCOL,
    Backlog,
    Clock,
    Driver,
    Event,
    Host,
    Report,
    Roster,
    Samples,
    State,
    decode,
    encode,
    pack,
)
from hypothesis import given
from hypothesis import strategies as st

NODE = "00000000-0000-4000-8000-000000000001"
STREAM = "00000000-0000-4000-8000-000000000002"
SECOND = 1_000_000
NOW = wall() - 86_400 * SECOND
OK = Driver(state="ok", since=1)


def samples(*times: int, gpus: tuple[str, ...] = ("GPU-0", "GPU-1"), metrics: tuple[str, ...] = ("power",)) -> Samples:
    """Samples whose values are their times and places."""
    values = [time % 1000 * 10 + place for time in times for place in range(len(gpus))]
    return Samples(
        gpus=list(gpus),
        times=pack(times, 8),
        durations=pack([1000] * len(times), 4),
        columns={name: pack(values, 4) for name in metrics},
    )


def report(seq: int, /, *blocks: Samples, **fields: Any) -> Report:
    """A report made `seq` × 10 s after the beginning."""
    at = NOW + seq * 10 * SECOND
    given: dict[str, Any] = {
        "version": PROTOCOL,
        "node": NODE,
        "stream": STREAM,
        "seq": seq,
        "created": Clock(wall=at, uptime=seq * 10 * SECOND, boot=boot_id()),
        "interval": 10_000,
        "driver": OK,
        "samples": list(blocks) or [samples(at)],
    }
    return Report(**{**given, **fields})


def test_what_there_is_once_is_the_last_ones() -> None:
    """Numbers from the first to the last, the clock and the backlog of the last, states and events of both in order."""
    told = [State(NOW + seq, "GPU-0", "remap_pending", seq) for seq in (1, 2)]
    happened = [Event(at=NOW + seq, kind="xid", code=seq) for seq in (1, 2)]
    both = [report(n, states=[told[n - 1]], events=[happened[n - 1]], backlog=Backlog(reports=n)) for n in (1, 2)]
    joined = Joined(both[0])
    assert joined.add(both[1])
    made = decode(encode(joined.report()))
    assert (made.first_seq, made.seq, made.first) == (1, 2, 1)
    assert (made.created, made.backlog) == (both[1].created, both[1].backlog)
    assert (made.states, made.events) == (told, happened)
    assert made.samples == [samples(NOW + 10 * SECOND, NOW + 20 * SECOND)]
    assert (both[0].first, both[0].states) == (1, [told[0]])


def test_samples_of_partitions_are_joined_beside_those_of_gpus() -> None:
    """In blocks of their own, which a new layout of MIG ends."""
    times = [NOW + n * 10 * SECOND for n in (1, 2, 3)]
    cuts = (("MIG-1",), ("MIG-1",), ("MIG-1", "MIG-2"))
    reports = [
        report(n, partition_samples=[samples(time, gpus=cut, metrics=("fb_used",))])
        for n, time, cut in zip((1, 2, 3), times, cuts, strict=True)
    ]
    joined = Joined(reports[0])
    assert all(joined.add(each) for each in reports[1:])
    made = decode(encode(joined.report()))
    assert made.samples == [samples(*times)]
    assert made.partition_samples == [
        samples(*times[:2], gpus=("MIG-1",), metrics=("fb_used",)),
        samples(times[2], gpus=("MIG-1", "MIG-2"), metrics=("fb_used",)),
    ]


AT = NOW + 20 * SECOND
CLOCK = report(2).created
APART: dict[str, dict[str, Any]] = {
    "a gap": {"seq": 3},
    "the same number": {"seq": 1},
    "another stream": {"stream": str(uuid.uuid4())},
    "another interval": {"interval": 1000},
    "another state of the driver": {"driver": Driver(state="failed", since=1)},
    "another roster": {"roster_digest": "another"},
    "a roster": {"roster": Roster(host=Host(hostname="h", agent_version="1"), gpus=[])},
    "another boot": {"created": Clock(wall=AT, uptime=5, boot="before")},
    "a clock that was set": {"created": Clock(wall=AT + SECOND, uptime=CLOCK.uptime, boot=CLOCK.boot)},
    "times that do not rise": {"samples": [samples(NOW + 10 * SECOND)]},
    "states that do not": {"states": [State(NOW, "GPU-0", "remap_pending", 0)]},
    "partitions' times that do not rise": {"partition_samples": [samples(NOW + 10 * SECOND, gpus=("MIG-1",))]},
    "too many blocks": {"samples": [samples(AT + n) for n in range(joining.MAX_BLOCKS)]},
    "too many events": {"events": [Event(at=AT, kind="xid")] * joining.MAX_EVENTS},
    "too many states": {"states": [State(AT, "GPU-0", "remap_pending", 0)] * joining.MAX_STATES},
    "too many samples": {"samples": [samples(*range(AT, AT + MAX_JOINED_CELLS // 2), metrics=())]},
    "too many bytes": {"samples": [samples(AT, metrics=tuple(f"m{n}" for n in range(MAX_JOINED_BYTES // 8)))]},
}


@pytest.mark.parametrize("fields", APART.values(), ids=APART)
def test_what_cannot_be_joined_goes_by_itself(fields: dict[str, Any]) -> None:
    """Whatever there can be only one of, and whatever would make a report too large."""
    state = State(NOW + 15 * SECOND, "GPU-0", "remap_pending", 1)
    joined = Joined(report(1, states=[state], events=[Event(at=NOW, kind="xid")]))
    assert not joined.add(report(2, **fields))
    assert joined.add(report(2))
    assert joined.report().events == [Event(at=NOW, kind="xid")]


def test_a_report_with_a_roster_takes_no_other_with_it() -> None:
    """What a roster changes is told as of its own report."""
    first = report(1, roster=Roster(host=Host(hostname="h", agent_version="1"), gpus=[]))
    assert not Joined(first).add(report(2))


def test_of_an_earlier_boot_only_what_was_made_before_now_is_joined() -> None:
    """A wall clock that was ahead before the reboot puts each report at its own arrival."""
    ahead = [Clock(wall=wall() + n * 10**9, uptime=n * 10**9, boot="before") for n in (1, 2)]
    assert not Joined(report(1, created=ahead[0])).add(report(2, created=ahead[1]))
    past = [Clock(wall=NOW + n * 10**7, uptime=n * 10**7, boot="before") for n in (1, 2)]
    assert Joined(report(1, created=past[0])).add(report(2, created=past[1]))


SHAPES = st.sampled_from([(("GPU-0", "GPU-1"), ("power",)), (("GPU-1",), ("power",)), (("GPU-0", "GPU-1"), ())])


@given(shapes=st.lists(st.tuples(SHAPES, st.integers(0, 3)), min_size=1, max_size=20))
def test_blocks_of_one_shape_become_one(shapes: list[tuple[Any, int]]) -> None:
    """Every cell is where it was, in as many blocks as shapes follow each other."""
    made, at = [], NOW
    for number, ((gpus, metrics), count) in enumerate(shapes, start=1):
        times = tuple(at + n * SECOND for n in range(1, count + 1))
        at += 10 * SECOND
        blocks = [samples(*times, gpus=gpus, metrics=metrics)] if count else []
        made.append(report(number, samples=blocks))
    joined = Joined(made[0])
    assert all(joined.add(each) for each in made[1:])
    whole = joined.report()
    assert _cells([whole]) == _cells(made)
    seen = [shape for shape, count in shapes if count]
    assert len(whole.samples) == sum(shape != before for shape, before in zip(seen, [None, *seen], strict=False))


def _cells(reports: list[Report]) -> list[tuple[int, list[str], dict[str, bytes]]]:
    """Each time, with its GPUs and its part of each column."""
    return [
        (
            int.from_bytes(block.times[8 * t : 8 * t + 8], "little"),
            block.gpus,
            {name: column[4 * len(block.gpus) * t :][: 4 * len(block.gpus)] for name, column in block.columns.items()},
        )
        for each in reports
        for block in each.samples
        for t in range(len(block.times) // 8)
    ]
