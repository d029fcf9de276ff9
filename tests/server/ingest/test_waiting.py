"""The queue before the writer: what is late leaves room for what is live."""

import asyncio

import anyio
import pytest
from gpufleet_agent import wire
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest.prepare import Prepared, prepare
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.ingest.waiting import Bounds, Waiting

from tests.server.ingest.agents import SECOND, Agent, Time


def _came(agent: Agent, after: float) -> Prepared:
    """A report that comes so many seconds after it was made."""
    report = agent.report()
    agent.time.at += int(after * SECOND)
    return prepare(wire.encode(report), agent.clock(), agent.node, "alpha", agent.time())


@pytest.mark.parametrize("fast", [0, 3600 * SECOND])
def test_late_reports_fill_half_the_queue(fast: int) -> None:
    """Beyond that they are turned away, by whatever clock they were made; live ones are taken until it is full."""

    async def story() -> None:
        agent, waiting = Agent(Time(), fast=fast), Waiting(Statistics(), Bounds(reports=6))
        waiting.open()
        taken = list[float]()
        for after in (3600, 3600, 3600, 3600, 50, 3600, 0, 0, 3600, 0):
            try:
                waiting.put(_came(agent, after), asyncio.get_running_loop().create_future())
            except Problem as problem:
                assert problem.status == 503
            else:
                taken.append(after)
        assert taken == [3600, 3600, 3600, 50, 0, 0]

    anyio.run(story)


def test_live_reports_wait_for_no_late_ones() -> None:
    """A batch has the live ones first, and of the late ones no more than a bound; nobody is left waiting."""

    async def story() -> None:
        agent = Agent(Time())
        late, live = [_came(agent, 3600) for _ in range(6)], [_came(agent, 0) for _ in range(2)]
        waiting = Waiting(Statistics(), Bounds(late_batch_bytes=0))
        waiting.open()
        for prepared in (*late, *live):
            waiting.put(prepared, asyncio.get_running_loop().create_future())
        batches = [[job.prepared for job in waiting.take(0)] for _ in range(6)]
        assert batches == [[*live, late[0]], *([each] for each in late[1:])]
        assert waiting.take(0) == []

    anyio.run(story)
