"""The collector: what goes into which report, and when one is closed."""

from typing import Literal

import msgspec
import pytest
from gpufleet_agent.backends.backend import DriverFacts
from gpufleet_agent.runtime import collector as collector_module
from gpufleet_agent.runtime.collector import GATHER_SECONDS, Collector
from gpufleet_agent.runtime.draft import Draft
from gpufleet_agent.runtime.frames import Begun, Changed, Frame, Happened, Opened, Record, Rostered, Ticked
from gpufleet_agent.runtime.unspooled import Unspooled
from gpufleet_agent.wire import Backlog, Clock, Driver, Event, Gpu, Host, Report, State, decode, pack, unpack
from hypothesis import given
from hypothesis import strategies as st

OK = Driver(state="ok", since=1)


class Kept(Unspooled):
    """A keeper in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.reports: list[Report] = []

    def close(self, seq: int, body: bytes) -> None:
        """Keep what the server would see."""
        self.reports.append(decode(body))


class Clockwork:
    """A monotonic clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clockwork(monkeypatch: pytest.MonkeyPatch) -> Clockwork:
    """The collector's clock."""
    clock = Clockwork()
    monkeypatch.setattr(collector_module, "monotonic", clock)
    return clock


def host(facts: DriverFacts | None) -> Host:
    """A host with its driver's version."""
    return Host(hostname="h", agent_version="0", driver_version=facts.driver_version if facts else None)


def opened(version: str) -> Opened:
    """The driver of this version is open."""
    return Opened(DriverFacts(version, None, None, {}))


def gpu(n: int, model: str = "X", state: Literal["ok", "lost"] = "ok") -> Gpu:
    """GPU n."""
    return Gpu(uuid=f"GPU-{n}", vendor="v", index=n, model=model, state=state)


def tick(at: int, *gpus: str) -> Ticked:
    """A sample of these GPUs."""
    return Ticked(at=at, duration=1000, gpus=list(gpus), columns={"power": pack([at] * len(gpus), 4)})


def started(interval: float = 1.0) -> tuple[Collector, Kept]:
    """A collector that has sent its first report, with GPU-0, and its first sample."""
    kept = Kept()
    collector = Collector("00000000-0000-4000-8000-000000000001", host, interval, kept)
    for frame in (opened("1"), Rostered([gpu(0)]), Changed([State(1, "GPU-0", "pcie_replays", 0)])):
        collector.take(frame)
    collector.stand(OK)
    collector.take(tick(1, "GPU-0"))
    collector.seal()
    return collector, kept


def kinds(report: Report) -> list[str]:
    """The kinds of its events."""
    return [event.kind for event in report.events]


def test_a_report_is_closed_by_the_tick_that_fills_it(clockwork: Clockwork) -> None:
    """At 1 s ten samples make a report; the tenth does not wait for a timer."""
    collector, kept = started()
    for second in range(1, 21):
        clockwork.now += 1
        collector.take(tick(second, "GPU-0"))
        collector.tend()
    assert [len(report.samples[0].times) // 8 for report in kept.reports] == [1, 10, 10]
    assert kept.reports[1].roster is None


def test_partitions_have_samples_beside_those_of_gpus(clockwork: Clockwork) -> None:
    """In blocks of their own: another layout of MIG begins one, and the GPUs' goes on."""
    collector, kept = started()
    for second, cut in enumerate((["MIG-1"], ["MIG-1"], ["MIG-1", "MIG-2"], [])):
        columns = {"fb_used": pack([second] * len(cut), 4)} if cut else {}
        whole = tick(second + 2, "GPU-0")
        collector.take(msgspec.structs.replace(whole, partitions=cut, partition_columns=columns))
    collector.seal()
    made = kept.reports[-1]
    assert [len(samples.times) // 8 for samples in made.samples] == [4]
    assert [(samples.gpus, unpack(samples.times, 8)) for samples in made.partition_samples] == [
        (["MIG-1"], [2, 3]),
        (["MIG-1", "MIG-2"], [4]),
    ]
    assert unpack(made.partition_samples[0].columns["fb_used"], 4) == [0, 1]


def test_an_event_closes_the_report_at_once(clockwork: Clockwork) -> None:
    """What comes within a moment goes along."""
    collector, kept = started()
    collector.take(Happened([Event(at=5, kind="xid", code=79)]))
    collector.take(Happened([Event(at=6, kind="xid", code=79)]))
    clockwork.now = collector.due
    collector.tend()
    assert kinds(kept.reports[-1]) == ["xid", "xid"]


def test_a_roster_change_ends_the_report_before(clockwork: Clockwork) -> None:
    """Samples before the change name the roster before; what changed in it is left to the server to tell."""
    collector, kept = started()
    before = kept.reports[0].roster_digest
    collector.take(tick(1, "GPU-0"))
    collector.take(Rostered([gpu(0), gpu(1)]))
    collector.take(tick(2, "GPU-0", "GPU-1"))
    collector.seal()
    old, new = kept.reports[1:]
    assert (old.roster_digest, old.samples[0].gpus, old.roster) == (before, ["GPU-0"], None)
    assert new.roster_digest != before
    assert new.roster is not None
    assert (kinds(new), new.samples[0].gpus) == ([], ["GPU-0", "GPU-1"])


@pytest.mark.parametrize(
    "frames",
    [
        [Rostered([])],
        [Rostered([gpu(0, state="lost")])],
        [Rostered([gpu(0, model="Y")])],
        [opened("2"), Rostered([gpu(0)])],
    ],
)
def test_a_changed_roster_is_sent_within_a_moment(frames: list[Frame], clockwork: Clockwork) -> None:
    """A GPU that left, was lost or changed, and another driver: the server compares, so it gets the roster at once."""
    collector, kept = started()
    for frame in frames:
        collector.take(frame)
    clockwork.now += GATHER_SECONDS
    collector.tend()
    assert len(kept.reports) == 2
    assert kept.reports[1].roster is not None


def test_a_new_reader_does_not_repeat_what_is_known() -> None:
    """It tells roster and states anew; only what differs is sent."""
    collector, _ = started()
    frames: list[Frame] = [opened("1"), Rostered([gpu(0)])]
    frames.append(Changed([State(9, "GPU-0", "pcie_replays", 0), State(9, "GPU-0", "power_limit", 5)]))
    for frame in frames:
        collector.take(frame)
    report = collector.seal()
    assert report is not None
    assert (report.roster, report.states, report.events) == (None, [State(9, "GPU-0", "power_limit", 5)], [])


def test_a_change_of_what_belongs_to_the_driver_is_sent(clockwork: Clockwork) -> None:
    """The roster goes out again, with the same GPUs; what is the same as before is not sent."""
    collector, kept = started()
    for version in ("1", "2", "2"):
        collector.take(opened(version))
        clockwork.now += GATHER_SECONDS
        collector.tend()
    rosters = [report.roster for report in kept.reports[1:] if report.roster is not None]
    assert [(roster.host.driver_version, len(roster.gpus)) for roster in rosters] == [("2", 1)]


def test_a_roster_on_its_way_is_not_sent_twice() -> None:
    """The server asks with every answer until it has it; only an answer to a later report counts."""
    collector, kept = started()
    collector.want_roster(kept.reports[0].seq)
    asked = collector.seal()
    assert asked is not None
    assert asked.roster is not None
    assert asked.states == [State(1, "GPU-0", "pcie_replays", 0)]
    collector.want_roster(kept.reports[0].seq)
    again = collector.seal()
    assert again is not None
    assert again.roster is None


def test_without_a_driver_a_report_still_goes_out(clockwork: Clockwork) -> None:
    """Silence would look like a dead agent."""
    kept = Kept()
    collector = Collector("00000000-0000-4000-8000-000000000001", host, 10.0, kept)
    collector.tend()
    assert kept.reports == []
    collector.stand(Driver(state="absent", since=1, detail="no library"))
    for _ in range(2):
        clockwork.now = collector.due
        collector.tend()
    assert [report.driver.detail for report in kept.reports] == ["no library", "no library"]
    assert kept.reports[0].roster is not None


def test_a_draft_is_closed_before_it_outgrows_the_wire() -> None:
    """A storm of events is cut into reports that the server takes."""
    collector, kept = started()
    for _ in range(60):
        collector.take(Happened([Event(at=5, kind="xid")] * 100))
    collector.seal()
    assert sum(len(report.events) for report in kept.reports) == 6000
    assert max(len(report.events) for report in kept.reports) <= 10_000


GPUS = st.lists(st.sampled_from(["GPU-0", "GPU-1", "GPU-2"]), unique=True, max_size=3)


@given(st.lists(GPUS, max_size=30))
def test_columns_hold_every_value_once_whatever_the_gpus(shapes: list[list[str]]) -> None:
    """GPUs that come and go make new blocks; no value is lost, moved or doubled."""
    draft = Draft(Begun("s", 1, 1000, Clock(wall=0, uptime=0, boot="b"), OK, ""))
    sent: set[tuple[int, str]] = set()
    for at, gpus in enumerate(shapes):
        record: Record = tick(at, *gpus)
        draft.add(record)
        sent |= {(at, gpu) for gpu in gpus}
    found = []
    for samples in draft.report("n", Backlog()).samples:
        values = unpack(samples.columns["power"], 4)
        pairs = [(at, gpu) for at in unpack(samples.times, 8) for gpu in samples.gpus]
        assert values == [at for at, _ in pairs]
        found += pairs
    assert len(found) == len(sent)
    assert set(found) == sent
