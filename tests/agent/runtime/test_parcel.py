"""Catching up: whatever is joined, lost, committed late or cut off by a kill, each tick arrives exactly once."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from gpufleet_agent.runtime import parcel
from gpufleet_agent.runtime.delivery import Backoff, Delivery
from gpufleet_agent.runtime.draft import Draft
from gpufleet_agent.runtime.enrol import Enroller
from gpufleet_agent.runtime.parcel import Packer
from gpufleet_agent.runtime.push import READ_SECONDS, Answer, Link, Unreachable
from gpufleet_agent.runtime.spool import Spool
from gpufleet_agent.wire import MAX_JOINED, Ack, Report, decode, unpack
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.agent.runtime.test_spool import NODE, append, begin, close

_FATES = ("answered", "answered", "answered", "never sent", "no answer", "late", "503", "413")


class Far(Link):
    """A server and the way to it: takes all of a report or nothing, and answers, or not, as `fates` say."""

    def __init__(self, joins: bool = True) -> None:
        super().__init__("http://far")
        self._joins = joins
        self.fates: Iterator[str] = iter(())
        self.most = MAX_JOINED
        self.last: dict[str, int] = {}
        self.bodies: list[bytes] = []
        self.late: list[bytes] = []
        self.times: list[int] = []

    def post(self, path: str, body: bytes, headers: dict[str, str], limit: float = READ_SECONDS) -> Answer:
        """Answer a report, or have it lost on its way there or back, or only delayed."""
        fate = next(self.fates, "answered")
        report = decode(body)
        if fate == "late":
            self.late.append(body)
        if fate in ("never sent", "late"):
            raise Unreachable(fate)
        if fate == "503":
            return _problem(503)
        if (fate == "413" and report.first < report.seq) or report.seq - report.first >= self.most:
            return _problem(413)
        self.bodies.append(body)
        answer = self.commit(report)
        if fate == "no answer":
            raise Unreachable(fate)
        return answer

    def commit(self, report: Report) -> Answer:
        """As gpufleet's own: by the last number of the stream."""
        last = self.last.get(report.stream, 0)
        if last < report.seq and last >= report.first:
            return _problem(409, last_seq=last)
        if last < report.seq:
            self.last[report.stream] = report.seq
            self.times += [time for samples in report.samples for time in unpack(samples.times, 8)]
        duplicate = last >= report.seq
        ack = Ack(seq=report.seq, duplicate=duplicate, roster_wanted=False, clock_offset=0, server_time=1)
        ack.joins = self._joins
        return Answer(200, "application/json", None, msgspec.json.encode(ack))

    @property
    def sizes(self) -> list[int]:
        """How many reports came in each request."""
        return [report.seq - report.first + 1 for report in map(decode, self.bodies)]


def _problem(status: int, **more: int) -> Answer:
    body = msgspec.json.encode({"title": "no", "status": status, **more})
    return Answer(status, "application/problem+json", None, body)


def sending(folder: Path, far: Far, alone: int = 3) -> tuple[Spool, Delivery]:
    """What a new agent process has, enrolled already, that sends so many reports alone before it joins any."""
    (folder / "credential.json").write_text(f'{{"node":"{NODE}","credential":"c"}}')
    spool = Spool(folder, NODE, 1 << 30, 1e9)
    enroller = Enroller(folder, NODE, "host", None)
    return spool, Delivery(far, spool, enroller, Backoff(0, 0), Packer(spool, alone))


def fill(spool: Spool, begin_at: int, count: int) -> None:
    """Reports of one tick each."""
    for at in range(begin_at, begin_at + count):
        draft = begin(spool)
        append(spool, draft, at)
        close(spool, draft)


class CatchUpMachine(RuleBasedStateMachine):
    """An agent that closes reports and is killed anywhere, a server that is slow, lossy, small and refuses at times."""

    @initialize(alone=st.sampled_from([0, 1, 3]))
    def start(self, alone: int) -> None:
        """Nothing has happened yet."""
        self.state, self.far, self.alone = Path(tempfile.mkdtemp()), Far(), alone
        self.next = 1
        self.open: Draft | None = None
        self.spool, self.delivery = sending(self.state, self.far, alone)

    @rule(count=st.integers(1, 12))
    def close_reports(self, count: int) -> None:
        """Samples are read, a report each."""
        self.open = None
        fill(self.spool, self.next, count)
        self.next += count

    @rule(fates=st.lists(st.sampled_from(_FATES), min_size=1, max_size=8), most=st.integers(1, 20))
    def push(self, fates: list[str], most: int) -> None:
        """Requests, some of which the server gets and some of whose answers the agent."""
        self.far.fates, self.far.most = iter(fates), most
        for _ in fates:
            self.delivery.step()
        self.far.fates, self.far.most = iter(()), MAX_JOINED

    @precondition(lambda self: self.far.late)
    @rule(data=st.data())
    def commit_late(self, data: st.DataObject) -> None:
        """What a server still had in hand when the agent gave up waiting is committed now, in any order."""
        self.far.commit(decode(data.draw(st.sampled_from(self.far.late))))

    @rule(lost=st.integers(0, 3))
    def crash(self, lost: int) -> None:
        """The agent is killed, perhaps with a report half written, or while it removes what was acknowledged."""
        self.spool, self.delivery = sending(self.state, self.far, self.alone)
        if lost == 0:
            append(self.spool, begin(self.spool), self.next)
            self.next += 1
            self.spool, self.delivery = sending(self.state, self.far, self.alone)

    @precondition(lambda self: self.spool.head() is not None)
    @rule(gone=st.integers(1, 5))
    def crash_while_removing(self, gone: int) -> None:
        """The server has them all, and the agent is killed when it has removed only some of them."""
        packer, head = Packer(self.spool, 0), self.spool.head()
        packer._most = 10
        assert head is not None
        packed = packer.pack(head)
        self.far.commit(decode(packed.body))
        if self.far.last[decode(packed.body).stream] >= packed.seq:
            for entry in packed.entries[:gone]:
                self.spool.remove(entry)
        self.spool, self.delivery = sending(self.state, self.far, self.alone)

    @invariant()
    def nothing_twice(self) -> None:
        """No tick was taken twice, and the order was kept."""
        assert self.far.times == sorted(set(self.far.times))

    def teardown(self) -> None:
        """After a last restart everything that was read arrives, whatever still comes late."""
        self.spool, self.delivery = sending(self.state, self.far, self.alone)
        for _ in range(10_000):
            if self.spool.head() is None:
                break
            self.delivery.step()
        for body in self.far.late:
            self.far.commit(decode(body))
        assert self.far.times == list(range(1, self.next))
        assert not list((self.state / "spool").iterdir())
        shutil.rmtree(self.state)


TestCatchUpMachine = CatchUpMachine.TestCase
TestCatchUpMachine.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)


def drained(spool: Spool, delivery: Delivery) -> int:
    """How many steps it took until nothing waited any more."""
    steps = 0
    while spool.head() is not None:
        delivery.step()
        steps += 1
    return steps


def test_more_and_more_go_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three alone, by which the server measures the clock; then twice as many each time, up to a bound."""
    monkeypatch.setattr(parcel, "MAX_JOINED", 60)
    far = Far()
    spool, delivery = sending(tmp_path, far)
    fill(spool, 1, 200)
    drained(spool, delivery)
    assert far.sizes == [1, 1, 1, 8, 16, 32, 60, 60, 21]
    assert far.times == list(range(1, 201))
    assert delivery.delivered == 200
    fill(spool, 201, 50)
    assert drained(spool, delivery) == 1


def test_a_server_that_does_not_know_of_joined_reports_gets_none(tmp_path: Path) -> None:
    """It would store again what of them it has."""
    far = Far(joins=False)
    spool, delivery = sending(tmp_path, far)
    fill(spool, 1, 10)
    drained(spool, delivery)
    assert far.sizes == [1] * 10


def test_after_trouble_less_goes_at_once(tmp_path: Path) -> None:
    """While the server is away each attempt is smaller; when it is back it gets three reports alone, then more."""
    far = Far()
    spool, delivery = sending(tmp_path, far)
    fill(spool, 1, 60)
    far.fates = iter(["answered"] * 4 + ["never sent", "503", "never sent", "503"])
    drained(spool, delivery)
    assert far.sizes == [1, 1, 1, 8, 1, 1, 1, 8, 16, 22]


def test_what_is_too_large_for_something_in_between_goes_in_parts(tmp_path: Path) -> None:
    """HTTP 413 for a joined report gives none of them up."""
    far = Far()
    far.most = 5
    spool, delivery = sending(tmp_path, far)
    fill(spool, 1, 40)
    drained(spool, delivery)
    assert far.times == list(range(1, 41))
    assert max(far.sizes) <= 5
    assert not (tmp_path / "rejected").exists()


def test_one_report_that_is_refused_does_not_take_others_with_it(tmp_path: Path) -> None:
    """The group is halved until only what is at fault is put aside."""

    class Picky(Far):
        def commit(self, report: Report) -> Answer:
            """Refuse what holds the 20th tick."""
            wrong = any(20 in unpack(samples.times, 8) for samples in report.samples)
            return _problem(422) if wrong else super().commit(report)

    far = Picky()
    spool, delivery = sending(tmp_path, far)
    fill(spool, 1, 60)
    drained(spool, delivery)
    assert far.times == [at for at in range(1, 61) if at != 20]
    assert [int(path.stem) for path in (tmp_path / "rejected").iterdir()] == [20]


def test_what_was_committed_late_is_forgotten_up_to_there(tmp_path: Path) -> None:
    """The server has some of a joined report, and says up to where; the rest goes on at once."""
    far = Far()
    spool, delivery = sending(tmp_path, far)
    fill(spool, 1, 30)
    far.fates = iter(["answered"] * 3)
    for _ in range(3):
        delivery.step()
    far.last = dict.fromkeys(far.last, 7)
    far.times = list(range(1, 8))
    assert delivery.step() == (None, [])
    assert delivery.reachable
    assert spool.backlog.reports == 23
    drained(spool, delivery)
    assert far.times == list(range(1, 31))


def test_a_conflict_that_says_nothing_of_numbers_is_tried_again(tmp_path: Path) -> None:
    """HTTP 409 of something in between does not have reports forgotten."""
    far = Far()
    spool, delivery = sending(tmp_path, far)
    fill(spool, 1, 30)
    for _ in range(3):
        delivery.step()
    for answer in (_problem(409), Answer(409, "text/html", None, b'{"last_seq":20}')):
        far.commit = lambda report, answer=answer: answer  # type: ignore[method-assign, misc]
        delivery.step()
        assert not delivery.reachable
        assert spool.backlog.reports == 27


def test_a_file_that_is_no_report_goes_alone(tmp_path: Path) -> None:
    """What is wrong with it is for the server to say, and costs the others nothing."""
    far = Far()
    spool, _ = sending(tmp_path, far, alone=0)
    fill(spool, 1, 3)
    damaged = sorted((tmp_path / "spool").iterdir())[1]
    damaged.write_bytes(b"rubbish")
    head = spool.head()
    assert head is not None
    packer = Packer(spool, 0)
    packer._most = 3
    assert packer.pack(head).entries == [head]
    spool.remove(head)
    second = spool.head()
    assert second is not None
    assert packer.pack(second).body == b"rubbish"


def test_a_file_that_is_gone_ends_a_group(tmp_path: Path) -> None:
    """It is found missing when its own turn comes."""
    spool, _ = sending(tmp_path, Far())
    fill(spool, 1, 3)
    sorted((tmp_path / "spool").iterdir())[1].unlink()
    head = spool.head()
    assert head is not None
    packer = Packer(spool, 0)
    packer._most = 3
    assert packer.pack(head).entries == [head]
    spool.remove(head)
    second = spool.head()
    assert second is not None
    with pytest.raises(OSError, match="No such file"):
        packer.pack(second)
