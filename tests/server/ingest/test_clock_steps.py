"""A wall clock that is set while the agent reads: nothing is refused for it, and what is stored has the true time."""

import contextlib
import dataclasses
import itertools
import time
from typing import Any

import anyio
import pytest
from gpufleet_agent import wire
from gpufleet_agent.runtime.collector import Collector
from gpufleet_agent.runtime.frames import Changed, Happened, Rostered, Ticked
from gpufleet_agent.runtime.unspooled import Unspooled
from gpufleet_server.store.engine import Store
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.server.fixtures import NewDatabase
from tests.server.ingest.agents import BOOT, NOW, SECOND, Agent, Server, Time, serving

GPU = "GPU-a"
# To be believed at once by a server, as seconds ahead of the true time: apart by more than any way takes.
FAR = (0, 3600, -3600, 86_400, -45, 50)
NEAR = (*FAR, 0.3, -0.3, 2, -4, 7, -20)


class Kept(Unspooled):
    """Closed reports, each with the machine's clocks and the true time of then."""

    def __init__(self, machine: "Machine") -> None:
        super().__init__()
        self._machine = machine
        self.closed: list[tuple[bytes, wire.Clock, int]] = []

    def close(self, seq: int, body: bytes) -> None:
        """It is sent at once."""
        self.closed.append((body, self._machine.clock(), self._machine.true))


@dataclasses.dataclass
class Machine:
    """Its clocks; `ahead` is by how much the wall clock is ahead of the true time, µs."""

    true: int = NOW
    ahead: int = 0

    def clock(self) -> wire.Clock:
        """What they say now."""
        return wire.Clock(wall=self.true + self.ahead, uptime=self.true - NOW + 3600 * SECOND, boot=BOOT)

    @contextlib.contextmanager
    def believed(self) -> Any:
        """Have the code under test read these clocks."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time_ns", lambda: self.clock().wall * 1000)
            patch.setattr(time, "monotonic", lambda: self.clock().uptime / 1e6)
            patch.setattr(time, "clock_gettime_ns", lambda _: self.clock().uptime * 1000)
            patch.setattr("gpufleet_agent.runtime.clock.boot_id", lambda: BOOT)
            yield


@dataclasses.dataclass(frozen=True)
class Setting:
    """After so many seconds the clock is so far ahead (s); what was read just before may come just after."""

    after: int
    ahead: float
    late: bool
    event: bool


SECONDS, LATE, EVENT = st.integers(1, 25), st.booleans(), st.booleans()


def told(machine: Machine, history: list[Setting]) -> list[tuple[bytes, wire.Clock, int]]:
    """The reports of an agent that samples each second."""
    kept = Kept(machine)
    with machine.believed():
        host = wire.Host(hostname="alpha", agent_version="1")
        collector = Collector(Agent(Time()).node, lambda _: host, 1.0, kept)
        collector.stand(wire.Driver(state="ok", since=machine.clock().wall))
        collector.take(Rostered([wire.Gpu(uuid=GPU, vendor="NVIDIA", index=0)]))
        for setting in history:
            for second in range(setting.after):
                machine.true += SECOND
                sample = Ticked(machine.clock().wall, 1000, [GPU], {"power": wire.pack([1], 4)})
                state = wire.State(machine.clock().wall, GPU, "remap_pending", second % 2)
                if setting.late and second == setting.after - 1:
                    machine.ahead = round(setting.ahead * SECOND)
                collector.take(sample)
                collector.take(Changed([state]))
                collector.tend()
            machine.ahead = round(setting.ahead * SECOND)
            if setting.event:
                collector.take(Happened([wire.Event(at=machine.clock().wall, kind="xid", code=31, gpu=GPU)]))
        collector.seal()
    return kept.closed


def _looked_at(history: list[Setting]) -> bool:
    """Whether each clock was looked at: of one that is set, read by and set again between two looks nobody can tell."""
    pairs = itertools.pairwise(history)
    return not any(this.after == 1 and this.late and not last.event for last, this in pairs)


async def _send(server: Server, closed: list[tuple[bytes, wire.Clock, int]]) -> None:
    agent = server.agent(gpus=(GPU,))
    for body, sent, at in closed:
        server.time.at = at + 20_000
        answer = await server.send_bytes(agent, body, **{wire.CLOCK_HEADER: wire.clock_header(sent)})
        assert answer.status_code == 200, answer.text


@settings(deadline=None, max_examples=15)
@given(
    history=st.lists(st.builds(Setting, SECONDS, st.sampled_from(FAR), LATE, EVENT), min_size=1, max_size=5),
    first=st.sampled_from(FAR),
)
def test_every_sample_has_its_true_time(new_sqlite: NewDatabase, history: list[Setting], first: float) -> None:
    """Set by far, forward and back, in the middle of a report: each sample, and since when the driver answers."""
    assume(_looked_at(history))

    async def main() -> None:
        with contextlib.closing(Store.open(new_sqlite())) as store:
            async with serving(store, Time()) as server:
                machine = Machine(ahead=round(first * SECOND))
                await _send(server, told(machine, history))
                off = [at - (NOW + n * SECOND) for n, at in enumerate(server.times(), start=1)]
                assert len(off) == sum(setting.after for setting in history)
                assert max(map(abs, off)) < SECOND
                assert abs(server.rows("SELECT driver_since FROM nodes")[0][0] - NOW) < SECOND
                events = server.rows("SELECT count(*) FROM events WHERE kind = 'xid'")[0][0]
                assert events == sum(setting.event for setting in history)

    anyio.run(main)


@settings(deadline=None, max_examples=15)
@given(
    history=st.lists(st.builds(Setting, SECONDS, st.sampled_from(NEAR), LATE, EVENT), min_size=1, max_size=6),
    first=st.sampled_from(NEAR),
)
def test_nothing_is_refused(new_sqlite: NewDatabase, history: list[Setting], first: float) -> None:
    """Set by little, too, which the server believes only when three reports in a row say so."""
    assume(_looked_at(history))

    async def main() -> None:
        with contextlib.closing(Store.open(new_sqlite())) as store:
            async with serving(store, Time()) as server:
                await _send(server, told(Machine(ahead=round(first * SECOND)), history))
                assert server.statistics.reports["refused"] == 0

    anyio.run(main)


def test_a_clock_that_nobody_looked_at(new_sqlite: NewDatabase) -> None:
    """What was read while it was an hour ahead for less than a second is told by it, and refused: known, not mended."""
    history = [Setting(1, 3600, late=False, event=False), Setting(1, 0, late=True, event=False)]

    async def main() -> list[int]:
        with contextlib.closing(Store.open(new_sqlite())) as store:
            async with serving(store, Time()) as server:
                agent, answers = server.agent(gpus=(GPU,)), []
                for body, sent, at in told(Machine(), history):
                    server.time.at = at + 20_000
                    headers = {wire.CLOCK_HEADER: wire.clock_header(sent)}
                    answers.append((await server.send_bytes(agent, body, **headers)).status_code)
                return answers

    assert not _looked_at(history)
    assert anyio.run(main).count(422) == 1
