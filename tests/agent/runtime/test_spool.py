"""The spool: whatever happens in whatever order, each tick is delivered exactly once."""

import json
import os
import shutil
import tempfile
import time
from pathlib import Path

import pytest
from gpufleet_agent.runtime import spool as spool_module
from gpufleet_agent.runtime.clock import boot_id, read_clock
from gpufleet_agent.runtime.draft import Draft
from gpufleet_agent.runtime.frames import Begun, Happened, Ticked
from gpufleet_agent.runtime.spool import Spool
from gpufleet_agent.wire import Backlog, Clock, Driver, Event, decode, encode, pack, unpack
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

NODE = "00000000-0000-4000-8000-000000000001"


def begin(spool: Spool) -> Draft:
    """Open a report in this spool."""
    stream, seq = spool.take_number()
    begun = Begun(stream, seq, 1000, read_clock(), Driver(state="ok", since=1), "")
    spool.begin(begun)
    return Draft(begun)


def tick(at: int) -> Ticked:
    """A sample of one GPU at this time."""
    return Ticked(at=at, duration=1000, gpus=["GPU-0"], columns={"power": pack([at], 4)})


def append(spool: Spool, draft: Draft, at: int) -> None:
    """Add a tick as the collector does."""
    draft.add(tick(at))
    spool.append(tick(at))


def close(spool: Spool, draft: Draft) -> None:
    """Finish the report as the collector does."""
    spool.close(draft.seq, encode(draft.report(NODE, Backlog())))


def times(body: bytes) -> list[int]:
    """The times of a report's samples."""
    return [time for samples in decode(body).samples for time in unpack(samples.times, 8)]


class SpoolMachine(RuleBasedStateMachine):
    """An agent that appends, closes, crashes anywhere and restarts; a server that takes each number once, in order."""

    @initialize()
    def start(self) -> None:
        """An agent with an empty state folder."""
        self.state = Path(tempfile.mkdtemp())
        self.next = 1
        self.server: dict[str, int] = {}
        self.taken: list[int] = []
        self.open: Draft | None = None
        self.spool = self.fresh()

    def fresh(self) -> Spool:
        """What a new agent process finds."""
        return Spool(self.state, NODE, 1 << 30, 1e9)

    @rule(count=st.integers(1, 4))
    def ticks(self, count: int) -> None:
        """Samples are read."""
        for _ in range(count):
            self.open = self.open or begin(self.spool)
            append(self.spool, self.open, self.next)
            self.next += 1

    @precondition(lambda self: self.open is not None)
    @rule()
    def seal(self) -> None:
        """The report is closed."""
        assert self.open is not None
        close(self.spool, self.open)
        self.open = None

    @rule(answered=st.booleans())
    def push(self, answered: bool) -> None:
        """The oldest report reaches the server; its answer may not reach the agent."""
        entry = self.spool.head()
        if entry is None:
            return
        report = decode(entry.read())
        if report.seq > self.server.get(report.stream, 0):
            self.server[report.stream] = report.seq
            self.taken += times(entry.read())
        if answered:
            self.spool.remove(entry)

    @rule(torn=st.binary(max_size=40))
    def crash(self, torn: bytes) -> None:
        """The agent is killed, perhaps within a write, and starts again."""
        journals = list((self.state / "spool").glob("*.journal"))
        for journal in journals:
            # Half a record, as a cut of power may leave it.
            journal.write_bytes(journal.read_bytes() + (1 + len(torn)).to_bytes(4, "little") + torn)
        self.open = None
        self.spool = self.fresh()

    @precondition(lambda self: self.open is not None)
    @rule(written=st.booleans())
    def crash_while_closing(self, written: bool) -> None:
        """The agent is killed before the report has its name, or before the journal is gone."""
        assert self.open is not None
        journal = self.state / "spool" / f"{self.open.seq:020}.journal"
        before = journal.read_bytes()
        close(self.spool, self.open)
        report = journal.with_suffix(".report")
        journal.write_bytes(before)
        if not written:
            report.rename(report.with_name(report.name + ".tmp"))
        self.open = None
        self.spool = self.fresh()

    @rule(content=st.sampled_from([b"", b"{", b'{"stream":"x","reserved":3}']))
    def lose_stream(self, content: bytes) -> None:
        """The file with the stream's name is damaged while the agent is down."""
        (self.state / "stream.json").write_bytes(content)
        self.open = None
        self.spool = self.fresh()

    @invariant()
    def nothing_twice(self) -> None:
        """No tick was taken twice, and the order was kept."""
        assert self.taken == sorted(set(self.taken))

    def teardown(self) -> None:
        """After a last restart everything that was read has arrived."""
        self.spool = self.fresh()
        while self.spool.head() is not None:
            self.push(answered=True)
        assert self.taken == list(range(1, self.next))
        assert not list((self.state / "spool").iterdir())
        shutil.rmtree(self.state)


TestSpoolMachine = SpoolMachine.TestCase
TestSpoolMachine.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)


def test_the_oldest_go_first_and_the_gap_is_told(tmp_path: Path) -> None:
    """Beyond its size the spool drops the oldest reports and says which time they covered."""
    spool = Spool(tmp_path, NODE, 1000, 1e9)
    for at in range(1, 21):
        draft = begin(spool)
        append(spool, draft, at)
        close(spool, draft)
    dropped = spool.backlog.dropped
    assert 0 < dropped < 20
    assert spool.backlog.bytes <= 1000
    head = spool.head()
    assert head is not None
    assert times(head.read()) == [dropped + 1]
    event = spool.take_dropped()
    assert event is not None
    assert event.detail == {"reports": dropped, "from": 1, "to": dropped}
    assert spool.take_dropped() is None


def close_before(spool: Spool, boot: str, age: float) -> None:
    """Finish a report that was made in a boot so long ago (s); the clock that its file bears was 50 years behind."""
    draft, now = begin(spool), read_clock()
    append(spool, draft, 1)
    made = Clock(wall=now.wall, uptime=now.uptime - int(age * 1e6), boot=boot)
    spool.close(draft.seq, encode(draft.report(NODE, Backlog(), made)))
    newest = max(spool._folder.glob("*.report"))
    os.utime(newest, (time.time() - 50 * 365 * 86400,) * 2)


def test_what_is_too_old_is_dropped(tmp_path: Path) -> None:
    """A report older than the bound goes as soon as there is a newer one; of an earlier boot the file's time counts."""
    spool = Spool(tmp_path, NODE, 1 << 30, 3600)
    close_before(spool, "another boot", 60)
    close_before(spool, boot_id(), 7200)
    close(spool, begin(spool))
    again = Spool(tmp_path, NODE, 1 << 30, 3600)
    assert (again.backlog.reports, again.backlog.dropped) == (1, 2)


def test_a_clock_that_was_wrong_when_a_report_was_written_makes_it_no_older(tmp_path: Path) -> None:
    """A machine without a battery reads from 1970 on, hears the time, and its agent starts anew: nothing is dropped."""
    spool = Spool(tmp_path, NODE, 1 << 30, 3600)
    for _ in range(3):
        close_before(spool, boot_id(), 60)
    again = Spool(tmp_path, NODE, 1 << 30, 3600)
    assert (again.backlog.reports, again.backlog.dropped) == (3, 0)


def test_a_clock_that_jumps_forward_makes_nothing_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that starts in 1970 and then hears the time keeps what it has read."""
    spool = Spool(tmp_path, NODE, 1 << 30, 3600)
    close(spool, begin(spool))
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 50 * 365 * 86400)
    close(spool, begin(spool))
    assert (spool.backlog.reports, spool.backlog.dropped) == (2, 0)


def test_one_unreadable_file_is_told_and_the_others_are_taken(tmp_path: Path) -> None:
    """What cannot be read stays where it is; that is no reason to say that nothing is kept on disk."""
    spool = Spool(tmp_path, NODE, 1 << 30, 1e9)
    close(spool, begin(spool))
    (tmp_path / "spool" / f"{7:020}.journal").mkdir()
    (tmp_path / "spool" / f"{8:020}.report").symlink_to("nowhere")
    again = Spool(tmp_path, NODE, 1 << 30, 1e9)
    told = again.take_notices()
    assert [event.message.split(": ")[0] for event in told] == ["a report of an earlier run cannot be read"] * 2
    assert again.backlog.reports == 1
    close(again, begin(again))
    assert again.take_notices() == []


def test_a_boot_is_told_once(tmp_path: Path) -> None:
    """The first run after a boot tells when that was; the next one, and one that an older agent ran before, do not."""
    spool = Spool(tmp_path, NODE, 1 << 30, 1e9)
    close(spool, begin(spool))
    file = tmp_path / "stream.json"
    kept = json.loads(file.read_bytes())
    assert spool.take_notices() == Spool(tmp_path, NODE, 1 << 30, 1e9).take_notices() == []
    file.write_text(json.dumps(kept | {"boot": "another"}))
    again = Spool(tmp_path, NODE, 1 << 30, 1e9)
    (told,) = again.take_notices()
    uptime = float(Path("/proc/uptime").read_text().split()[0])
    assert told.kind == "node_booted"
    assert abs(time.time() - told.at / 1e6 - uptime) < 5
    close(again, begin(again))
    assert Spool(tmp_path, NODE, 1 << 30, 1e9).take_notices() == []
    file.write_text(json.dumps({name: kept[name] for name in ("stream", "reserved")}))
    assert Spool(tmp_path, NODE, 1 << 30, 1e9).take_notices() == []


def test_a_full_disk_is_survived_in_memory(tmp_path: Path) -> None:
    """Where the disk takes nothing reports wait in memory, under a stream whose numbers cannot come again."""
    (tmp_path / "spool").mkdir()
    spool = Spool(tmp_path, NODE, 1 << 30, 1e9)
    (tmp_path / "spool").rmdir()
    (tmp_path / "spool").touch()  # a file where the folder was: every write fails
    (tmp_path / "stream.json.tmp").mkdir()
    draft = begin(spool)
    append(spool, draft, 1)
    close(spool, draft)
    told = [(event.kind, event.message.split(": ")[0]) for event in spool.take_notices()]
    assert told == [
        ("spool_degraded", "the open report is kept in memory only"),
        ("spool_degraded", "reports are kept in memory only"),
    ]
    head = spool.head()
    assert head is not None
    assert times(head.read()) == [1]
    assert not (tmp_path / "stream.json").exists()
    (tmp_path / "spool").unlink()
    (tmp_path / "spool").mkdir()
    draft = begin(spool)
    close(spool, draft)
    assert [event.kind for event in spool.take_notices()] == ["spool_recovered"]
    assert spool.backlog.reports == 2


def test_memory_is_bounded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In memory the oldest report goes when there is no more room."""
    monkeypatch.setattr(spool_module, "MEMORY_BYTES", 500)
    (tmp_path / "spool").touch()
    spool = Spool(tmp_path, NODE, 1 << 30, 1e9)
    for at in range(1, 11):
        draft = begin(spool)
        append(spool, draft, at)
        close(spool, draft)
    assert spool.backlog.bytes <= 500
    assert spool.backlog.dropped + spool.backlog.reports == 10


def test_rejected_reports_are_kept_for_a_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest of them, not all."""
    monkeypatch.setattr(spool_module, "REJECTED_KEPT", 2)
    spool = Spool(tmp_path, NODE, 1 << 30, 1e9)
    for _ in range(3):
        close(spool, begin(spool))
        entry = spool.head()
        assert entry is not None
        spool.reject(entry)
    assert [int(path.stem) for path in sorted((tmp_path / "rejected").iterdir())] == [2, 3]
    assert spool.head() is None


def test_a_cut_of_power_in_a_journal_keeps_what_came_before(tmp_path: Path) -> None:
    """Zeros or rubbish at a journal's end do not cost the records before them."""
    spool = Spool(tmp_path, NODE, 1 << 30, 1e9)
    append(spool, begin(spool), 1)
    journal = next((tmp_path / "spool").glob("*.journal"))
    journal.write_bytes(journal.read_bytes() + bytes(100))
    head = Spool(tmp_path, NODE, 1 << 30, 1e9).head()
    assert head is not None
    assert times(head.read()) == [1]


def test_the_newest_events_of_this_boot_are_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a report that a killed agent left in its journal too; nothing of a boot before."""
    spool = Spool(tmp_path, NODE, 1 << 30, 1e9)
    assert spool.newest_events() == []
    begin(spool)
    events = [Event(at=1, kind="xid", code=79)]
    spool.append(Happened(events))
    again = Spool(tmp_path, NODE, 1 << 30, 1e9)
    assert again.newest_events() == events
    monkeypatch.setattr(spool_module, "boot_id", lambda: "another")
    assert again.newest_events() == []
