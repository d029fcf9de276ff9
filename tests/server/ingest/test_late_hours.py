"""Late samples and the rollup of their hour, made at the same moment."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator

import anyio
from gpufleet_agent import wire
from gpufleet_server.ingest.prepare import prepare
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.ingest.writer import Writer
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fleet_rollups import roll_hours
from gpufleet_server.store.tiers import HOUR
from gpufleet_server.store.tokens import TokenCache
from sqlalchemy import Connection, text

from tests.server.fixtures import NewDatabase
from tests.server.ingest.agents import SECOND, Agent, Time


class HeldStore(Store):
    """A store whose transactions wait before their commit for as long as it is `held`."""

    held: threading.Event
    waits: threading.Event

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that waits before its commit."""
        with super().writing() as connection:
            yield connection
            self.waits.set()
            assert self.held.wait(60)


def test_a_commit_and_its_hour_s_rollup_at_once(new_postgresql: NewDatabase) -> None:
    """Whichever is first: in the end the hour is made of all of its minutes."""
    url = new_postgresql()
    with contextlib.closing(HeldStore.open(url)) as slow, contextlib.closing(Store.open(url)) as store:
        slow.held, slow.waits = threading.Event(), threading.Event()
        anyio.run(_story, slow, store)
        with store.reading() as connection:
            for table in ("fleet_minutes", "fleet_hours"):
                query = text(f"SELECT sum(observed) FROM {table}")
                assert connection.execute(query).scalar_one() == 6000


async def _story(slow: HeldStore, store: Store) -> None:
    time = Time()
    agent = Agent(time)
    writer = Writer(slow, TokenCache(slow, time), Statistics(), now=time)
    writer.start()
    slow.held.set()
    for ago in (0, 5 * HOUR):
        await _late(writer, agent, ago)
    slow.held.clear()
    slow.waits.clear()
    answer = asyncio.ensure_future(_late(writer, agent, 5 * HOUR - SECOND))
    assert await asyncio.to_thread(slow.waits.wait, 60)
    rolling = asyncio.ensure_future(asyncio.to_thread(roll_hours, store, time()))
    # Time enough for a rollup that would not wait.
    await asyncio.wait([rolling], timeout=0.3)
    slow.held.set()
    await asyncio.gather(answer, rolling)
    await asyncio.to_thread(roll_hours, store, time())
    await asyncio.to_thread(writer.stop)


async def _late(writer: Writer, agent: Agent, ago: int) -> wire.Ack:
    report = agent.report(samples=[agent.samples([agent.clock().wall - ago])])
    return await writer.submit(prepare(wire.encode(report), agent.clock(), agent.node, "alpha", agent.time()))
