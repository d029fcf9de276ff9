"""From ticks to usage intervals: through the journal, cut into reports, joined."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gpufleet_agent.runtime.clock import read_clock
from gpufleet_agent.runtime.collector import Collector
from gpufleet_agent.runtime.draft import Draft
from gpufleet_agent.runtime.frames import Begun, Rostered, Ticked
from gpufleet_agent.runtime.joining import Joined
from gpufleet_agent.runtime.journal import Journal, read_records
from gpufleet_agent.runtime.pieces import Descriptions, Pieces, Strung
from gpufleet_agent.usage.entries import Entry, Place, Used
from gpufleet_agent.wire import Backlog, Clock, Driver, Gpu, Holder, Host, Usage, decode, encode
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.agent.runtime.test_collector import Kept

SECOND = 1_000_000
NODE = "00000000-0000-4000-8000-000000000001"
JOBS = {n: Holder(kind="slurm", job=str(n), step="0", uid=n) for n in (1, 2, 3)}
PLACES: dict[int, Place] = {7: ("GPU-0", None), 8: ("GPU-1", "MIG-1")}
OK = Driver(state="ok", since=1)


def begun() -> Begun:
    """The head of a journal."""
    return Begun(NODE, 1, 1000, Clock(wall=0, uptime=0, boot="b"), OK, "")


def tick(at: int, *entries: Entry, begin: int | None = None) -> Ticked:
    """A sample of a second, with everything described that it names."""
    used = Used(
        begin=(at - 1 if begin is None else begin) * SECOND,
        entries=list(entries),
        places={entry.place: PLACES[entry.place] for entry in entries},
        holders={entry.holder: JOBS[entry.holder] for entry in entries},
    )
    return Ticked(at=at * SECOND, duration=1000, gpus=["GPU-0"], columns={}, used=used)


def entry(holder: int = 1, place: int = 7, memory: int | None = 100, **others: int | None) -> Entry:
    """A holder that was active all the time."""
    values: dict[str, int | None] = {"observed": 1000, "active": 1000, "held": 0, "activity": 5000, "processes": 1}
    return Entry(place=place, holder=holder, memory=memory, **(values | others))  # type: ignore[arg-type]


def usage(*ticks: Ticked) -> list[Usage]:
    """The pieces of a report with these ticks."""
    pieces = Pieces()
    for each in ticks:
        pieces.add(each)
    return pieces.usage()


def test_a_piece_is_added_up() -> None:
    """Memory and activity are means over the time that it was there, the rest sums and maxima."""
    half = entry(memory=400, observed=500, active=100, held=7, activity=None, processes=3)
    (piece,) = usage(tick(1, half), tick(2, entry(memory=100)), tick(3, entry(memory=None)))
    assert (piece.gpu, piece.partition, piece.holder) == ("GPU-0", None, 0)
    assert (piece.begin, piece.end) == (SECOND // 2, 3 * SECOND)
    assert (piece.observed, piece.active, piece.held, piece.processes) == (2500, 2100, 7, 3)
    assert (piece.memory, piece.memory_most, piece.activity) == (200 << 10, 400 << 10, 5000)


def test_what_is_gone_ended_with_the_tick_before() -> None:
    """One that comes back begins anew, as does all after a gap between samples."""
    pieces = usage(tick(1, entry()), tick(2, entry(2)), tick(3, entry()), tick(9, entry(), begin=8))
    assert [(piece.holder, piece.begin // SECOND, piece.end // SECOND) for piece in pieces] == [
        (0, 0, 1), (1, 1, 2), (0, 2, 3), (0, 8, 9)
    ]  # fmt: skip


def test_a_partition_is_a_place_of_its_own() -> None:
    """And nothing that is not known is told as zero."""
    nothing = entry(place=8, memory=None, activity=None)
    first, second = usage(tick(1, entry(), nothing))
    assert (first.partition, second.partition, second.memory, second.memory_most) == (None, "MIG-1", None, None)
    assert second.activity is None


def test_another_reader_has_other_numbers() -> None:
    """What they stand for is what was described last."""
    other = tick(2, entry(2))
    assert other.used is not None
    other.used.holders = {2: JOBS[1]}
    assert [(piece.holder, piece.end) for piece in usage(tick(1, entry(), entry(2, 8)), other)] == [
        (0, 2 * SECOND), (1, SECOND)
    ]  # fmt: skip


def test_numbers_without_a_description_are_left_out() -> None:
    """A journal that is not ours to understand ends nothing."""
    strange = tick(1, entry(), entry(2))
    assert strange.used is not None
    strange.used.holders = {1: JOBS[1]}
    assert [piece.holder for piece in usage(strange)] == [0]


def test_every_journal_describes_what_it_names() -> None:
    """The reader described it once; a report that begins later says it again, and no tick says it twice."""
    kept = Kept()
    collector = Collector(NODE, lambda _: Host(hostname="h", agent_version="0"), 1.0, kept)
    collector.take(Rostered([Gpu(uuid="GPU-0", vendor="v", index=0)]))
    collector.stand(OK)
    collector.take(tick(1, entry()))
    collector.seal()
    for at in (2, 3):
        plain = tick(at, entry())
        assert plain.used is not None
        plain.used.places, plain.used.holders = {}, {}
        collector.take(plain)
        assert bool(plain.used.holders) == bool(plain.used.places) == (at == 2)
    collector.seal()
    assert [report.holders for report in kept.reports] == [[JOBS[1]]] * 2
    assert [(piece.begin, piece.end) for report in kept.reports for piece in report.usage] == [
        (0, SECOND), (SECOND, 3 * SECOND)
    ]  # fmt: skip


entries = st.builds(
    entry,
    st.sampled_from([1, 2, 3]),
    st.sampled_from([7, 8]),
    st.none() | st.integers(0, 1 << 27),
    observed=st.integers(0, 1000),
    active=st.integers(0, 1000),
    held=st.integers(0, 1000),
    activity=st.none() | st.integers(0, 10_000),
    processes=st.integers(0, 9),
)


@st.composite
def runs(draw: st.DrawFn) -> list[Ticked]:
    """Ticks that follow each other, with a gap now and then; who goes on was there all the time."""
    ticks, at = [], 0
    there: set[tuple[int, int]] = set()
    for gap in draw(st.lists(st.sampled_from([0, 0, 0, 5]), min_size=1, max_size=12)):
        at += 1 + gap
        found = draw(st.lists(entries, max_size=4, unique_by=lambda one: (one.place, one.holder)))
        if not gap:
            found = [_whole(one) if (one.place, one.holder) in there else one for one in found]
        there = {(one.place, one.holder) for one in found}
        ticks.append(tick(at, *found))
    return ticks


def _whole(one: Entry) -> Entry:
    values = {name: getattr(one, name) for name in one.__struct_fields__}
    return Entry(**values | {"observed": 1000})


def _cut(ticks: list[Ticked], cuts: set[int]) -> Iterator[Pieces]:
    descriptions, pieces = Descriptions(), Pieces()
    for number, each in enumerate(deepcopy(ticks)):
        if number in cuts:
            yield pieces
            pieces = Pieces()
        assert each.used is not None
        descriptions.complete(each.used, pieces)
        pieces.add(each)
    yield pieces


def _sums(holders: list[Holder], pieces: list[Usage]) -> list[tuple[object, ...]]:
    found: list[tuple[Any, ...]] = [
        (holders[p.holder].job, p.gpu, p.begin, p.end, p.observed, p.active, p.held, p.memory_most or -1, p.processes)
        for p in pieces
    ]
    return sorted(found)


@given(runs(), st.sets(st.integers(0, 12)))
def test_cut_anywhere_and_joined_it_is_the_same(ticks: list[Ticked], cuts: set[int]) -> None:
    """Sums and largest values to the last digit, means but for rounding."""
    (whole,) = _cut(ticks, set())
    strung = Strung()
    for pieces in _cut(ticks, cuts):
        strung.add(pieces.holders, pieces.usage())
    assert _sums(strung.holders, strung.usage) == _sums(whole.holders, whole.usage())
    if not cuts:
        assert len(strung) == len(whole)


def test_joined_reports_have_joined_pieces() -> None:
    """One piece of a job that went on through both, with its holder as it was told last."""
    drafts = [Draft(Begun(NODE, seq, 1000, read_clock(), OK, "")) for seq in (1, 2)]
    for at, draft in enumerate(drafts, start=1):
        draft.add(tick(at, entry(), entry(at + 1, 8)))
    first, second = (draft.report(NODE, Backlog(), read_clock()) for draft in drafts)
    second.holders = [replace(holder, user="alice") for holder in second.holders]
    for report in (first, second):
        report.samples = []
    joined = Joined(first)
    assert joined.add(second)
    whole = decode(encode(joined.report()))
    assert [(holder.job, holder.user) for holder in whole.holders] == [("1", "alice"), ("2", None), ("3", "alice")]
    assert [(piece.holder, piece.begin, piece.end, piece.active) for piece in whole.usage] == [
        (0, 0, 2 * SECOND, 2000), (1, 0, SECOND, 1000), (2, SECOND, 2 * SECOND, 1000)
    ]  # fmt: skip


@given(runs(), st.data())
def test_a_torn_journal_holds_whole_ticks(ticks: list[Ticked], data: st.DataObject) -> None:
    """Whatever byte it ends with, its report is that of the first ticks, and the server would take it."""
    descriptions, draft = Descriptions(), Draft(begun())
    with TemporaryDirectory() as folder:
        journal = Journal(Path(folder, "j"), begun())
        for each in ticks:
            assert each.used is not None
            descriptions.complete(each.used, draft.pieces)
            draft.add(each)
            journal.append(each)
        journal.close()
        written = Path(folder, "j").read_bytes()
    records = read_records(written[: data.draw(st.integers(0, len(written)))])
    torn, first = Draft(begun()), Draft(begun())
    for record in records[1:]:
        torn.add(record)
    for each in ticks[: max(0, len(records) - 1)]:
        first.add(each)
    report = torn.report(NODE, Backlog())
    assert (report.usage, report.holders) == (first.pieces.usage(), first.pieces.holders)
    # Without columns the samples are none that the wire knows.
    report.samples = []
    assert decode(encode(report)).usage == report.usage
