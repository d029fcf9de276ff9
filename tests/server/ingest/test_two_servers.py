"""Two servers on one database: whatever reaches which of them, how often and in which order, is stored once."""

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator

import anyio
import pytest
from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME, Reason
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest.prepare import prepare
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.ingest.writer import Writer
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tokens import TokenCache
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text
from sqlalchemy.exc import OperationalError

from tests.server import stored
from tests.server.fixtures import ENGINES, NewDatabase
from tests.server.ingest.agents import SECOND, Agent, Time, fresh_id

POWER = BY_NAME["power"]
LOST, FAILED = POWER.absent(Reason.LOST), POWER.absent(Reason.FAILED)


class FragileStore(Store):
    """A store whose next transactions are cut as planned: before their commit, after it, or not."""

    plan: list[str]

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction; OperationalError where it is cut."""
        cut = self.plan.pop(0) if self.plan else ""
        with super().writing() as connection:
            yield connection
            if cut == "before":
                raise _cut()
        if cut == "after":
            raise _cut()


def _cut() -> OperationalError:
    return OperationalError("COMMIT", {}, ConnectionResetError("cut"))


@dataclasses.dataclass
class Sender:
    """An agent that keeps what is not acknowledged; `made`: every power that it has sampled, by time."""

    agent: Agent
    kept: list[wire.Report] = dataclasses.field(default_factory=list)
    done: list[wire.Report] = dataclasses.field(default_factory=list)
    made: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    def make(self, power: int) -> None:
        """A report more, with one sample of each of two GPUs, which have the same power, and an event."""
        self.agent.time.at += SECOND
        wall = self.agent.clock().wall
        samples = [self.agent.samples([wall], power=[power, power])]
        events = [wire.Event(at=wall, kind="xid", code=79, gpu="GPU-a")]
        self.kept.append(self.agent.report(samples=samples, events=events))
        self.made.append((wall, power))

    async def send(self, writers: list[Writer]) -> None:
        """The oldest report to these servers at once; it is done when one of them has acknowledged it."""
        if self.kept:
            answers = await asyncio.gather(*(self._post(writer, self.kept[0]) for writer in writers))
            given = [answer for answer in answers if answer is not None]
            # One of them may have stored it before its connection was cut.
            assert sum(not answer.duplicate for answer in given) <= 1
            if given:
                self.done.append(self.kept.pop(0))

    async def again(self, writer: Writer) -> None:
        """What is done, once more."""
        for report in self.done:
            answer = await self._post(writer, report)
            assert answer is None or answer.duplicate

    async def _post(self, writer: Writer, report: wire.Report) -> wire.Ack | None:
        agent = self.agent
        prepared = prepare(wire.encode(report), agent.clock(), agent.node, "alpha", agent.time())
        try:
            async with asyncio.timeout(60):
                return await writer.submit(prepared)
        except Problem as problem:
            assert problem.status == 503, problem
            return None


# Which agent, what it does, at which servers, the power it samples first, and how the server's transactions are cut.
Step = tuple[int, str, tuple[int, ...], int, list[str]]
STEP = st.tuples(
    st.integers(0, 1),
    st.sampled_from(["make", "make", "send", "again"]),
    st.sampled_from([(0,), (1,), (0, 1), (0, 0)]),
    st.sampled_from([3, 3, 7, LOST, FAILED]),
    st.lists(st.sampled_from(["", "before", "after"]), max_size=2),
)


@pytest.mark.parametrize("engine", ENGINES)
@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(st.lists(STEP, min_size=1, max_size=3), min_size=1, max_size=8))
def test_everything_is_stored_once(engine: str, request: pytest.FixtureRequest, steps: list[list[Step]]) -> None:
    """Two agents, two servers, resends, sends to both at once, transactions cut before and after their commit."""
    new: NewDatabase = request.getfixturevalue(f"new_{engine}")
    url = new()
    with contextlib.ExitStack() as stack:
        stores = [stack.enter_context(contextlib.closing(FragileStore.open(url))) for _ in range(2)]
        anyio.run(_story, stores, steps)


async def _story(stores: list[FragileStore], steps: list[list[Step]]) -> None:
    time = Time()
    senders = [Sender(Agent(time, stream=fresh_id())), Sender(Agent(time, node=fresh_id()))]
    for store in stores:
        store.plan = []
    writers = [Writer(store, TokenCache(store, time), Statistics(), now=time) for store in stores]
    for writer in writers:
        writer.start()
    try:
        for together in steps:
            for number, _, _, power, plan in together:
                senders[number].make(power)
                stores[number].plan = list(plan)
            by_sender = {step[0]: step for step in together}
            await asyncio.gather(*(_step(senders[number], writers, *step[1:3]) for number, step in by_sender.items()))
        for store in stores:
            store.plan = []
        for sender in senders:
            while sender.kept:
                await sender.send(writers[:1])
            await sender.again(writers[1])
    finally:
        for writer in writers:
            await asyncio.to_thread(writer.stop)
    _check(stores[0], senders)


async def _step(sender: Sender, writers: list[Writer], what: str, to: tuple[int, ...]) -> None:
    if what == "again":
        await sender.again(writers[to[0]])
    elif what == "send":
        await sender.send([writers[number] for number in to])


def _check(store: Store, senders: list[Sender]) -> None:
    for sender in senders:
        found = stored.samples(store, sender.agent.node)
        made = {(gpu, ts): POWER.reason(power) for gpu in sender.agent.gpus for ts, power in sender.made}
        assert found.keys() == made.keys()
        assert all((found[key]["power"] is None) == (reason is not None) for key, reason in made.items())
        _check_states(store, sender)
    samples = sum(2 * len(sender.made) for sender in senders)
    assert _scalar(store, "SELECT count(*) FROM events WHERE kind = 'xid'") == samples // 2
    assert _scalar(store, "SELECT coalesce(sum(observed), 0) FROM fleet_minutes") == 1000 * samples


def _check_states(store: Store, sender: Sender) -> None:
    """The reasons in force are those of the samples, told on change only; `latest` is the newest sample."""
    with store.reading() as connection:
        node = {"node": sender.agent.node}
        query = "SELECT s.ts, s.reason FROM states s JOIN gpus g ON g.gpu_id = s.gpu_id JOIN nodes n "
        query += "ON n.node_id = g.node_id WHERE n.uuid = :node AND g.uuid = 'GPU-a' AND metric = 'power' ORDER BY 1"
        told = [tuple(row) for row in connection.execute(text(query), node)]
        query = "SELECT l.ts, l.power FROM latest l JOIN nodes n ON n.node_id = l.node_id WHERE n.uuid = :node"
        newest = [tuple(row) for row in connection.execute(text(query), node)]
    reasons = [(ts, POWER.reason(power)) for ts, power in sender.made]
    before = [None, *(reason for _, reason in reasons)]
    assert told == [each for each, last in zip(reasons, before, strict=False) if each[1] != last]
    if sender.made:
        ts, power = sender.made[-1]
        assert newest == [(wire.pack([ts, ts], 8), wire.pack([power, power], 4))]


def _scalar(store: Store, query: str) -> int:
    with store.reading() as connection:
        return int(connection.execute(text(query)).scalar_one())
