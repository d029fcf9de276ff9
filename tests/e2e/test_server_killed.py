"""A server killed with -9 while agents report loses nothing and doubles nothing."""

import asyncio
import signal
import time

import numpy as np
from gpufleet_agent.wire import Ack, decode
from gpufleet_server.simulate.agent import Sent
from gpufleet_server.simulate.fleet import Fleet
from gpufleet_server.simulate.plan import SimNode, fleet

from tests.e2e.stack import Server, opened
from tests.server import stored

AGENTS = 50
Sample = tuple[str, str, int]


def fifty_nodes() -> list[SimNode]:
    """Fifty nodes of all models, whose clocks are right and whose drivers answer."""
    nodes = fleet(seed=7, gpus=1000, origin=time.time_ns() // 1000, faults=False)
    assert len(nodes) >= AGENTS
    return nodes[:AGENTS]


class Truth:
    """What the agents were told is committed, and what they had made: the bodies themselves."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.duplicates = 0

    def __call__(self, sent: Sent, ack: Ack) -> None:
        """Take down a committed report."""
        self.duplicates += ack.duplicate
        report = decode(sent.body)
        for block in report.samples:
            times = np.frombuffer(block.times, "<i8").tolist()
            self.samples += [(report.node, gpu, at) for at in times for gpu in block.gpus]


async def report_through_kills(it: Server, agents: Fleet, kills: int) -> None:
    """Run the agents while the server is killed and started again, then let them finish."""
    running = asyncio.create_task(agents.run())
    for _ in range(kills):
        await asyncio.sleep(1.5)
        await asyncio.to_thread(it.kill, signal.SIGKILL)
        await asyncio.sleep(0.3)
        await asyncio.to_thread(it.start)
    await asyncio.sleep(1.5)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    while agents.tally().waiting:
        await agents.flush()


def test_every_sample_is_there_once(any_server: Server) -> None:
    """Fifty agents report while the server is killed three times: the store holds exactly what they sampled."""
    truth = Truth()
    join = any_server.token("join")
    agents = Fleet(fifty_nodes(), any_server.url, join, interval=100, every=400, committed=truth)
    asyncio.run(report_through_kills(any_server, agents, kills=3))
    with opened(any_server.database) as store:
        found = [(sample.node, sample.gpu, sample.ts) for sample in stored.every(store)]
    assert len(truth.samples) > 10_000
    assert len(set(truth.samples)) == len(truth.samples)
    assert sorted(found) == sorted(truth.samples)
