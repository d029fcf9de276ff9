"""Agents that were offline for a day come back together: nobody else waits for them, and all rollups end up right."""

import asyncio
import contextlib
import random
import signal
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Iterable
from itertools import islice, zip_longest
from pathlib import Path
from typing import Any

import pytest
from gpufleet_agent.wire import Ack, decode
from gpufleet_server.domain import clock
from gpufleet_server.simulate.agent import Sent
from gpufleet_server.simulate.fleet import Fleet
from gpufleet_server.simulate.plan import fleet_of
from gpufleet_server.store.engine import Store
from gpufleet_server.store.seal import horizon, pending
from gpufleet_server.store.tiers import DAILY, DAY, HOUR, HOURLY, MINUTE, fleet_hours, fleet_minutes
from gpufleet_server.store.upkeep import run_once

from tests.chaos.proxy import Proxy
from tests.chaos.truth import Truth
from tests.e2e.stack import Server, opened, server
from tests.server import expected, stored

OTHERS, RETURNING, LIVE, GPUS = 2, 4, 6, 2
# A day of each that was offline, a sample each four minutes.
# Report by report, which is the longer way back: one that is joined holds up others no more than a few do.
OFFLINE = {"offline": 1.0, "backlog": DAY / 1e6, "interval": 240_000, "joins": False}
BACKLOG = RETURNING * 120


class Watch:
    """How much of the backlog was committed when a live report was made, and how much when it was committed itself."""

    def __init__(self) -> None:
        self.backlog: list[int] = []
        self.live: list[tuple[int, int]] = []

    def returned(self, _sent: Sent, _ack: Ack) -> None:
        """A report of the backlog is committed."""
        self.backlog.append(clock.now())

    def reported(self, sent: Sent, _ack: Ack) -> None:
        """A live report is committed."""
        made = decode(sent.body).created.wall
        self.live.append((bisect_left(self.backlog, made), len(self.backlog)))


async def come_back(it: Server, store: Store, truth: Truth) -> Watch:
    """Have some agents tell their day and others half of theirs, which is rolled up; then comes the rest of it.

    Yet others report live.
    """
    watch, token, proxy = Watch(), it.token("join"), Proxy([it.port], random.Random(1), truth.saw)
    await proxy.start()

    def agents(seed: int, count: int, **given: Any) -> Fleet:
        nodes = fleet_of(seed, count, GPUS, clock.now(), faults=False)
        return Fleet(nodes, f"http://127.0.0.1:{proxy.port}", token, pauses=(0.1, 0.5), **given)

    others = agents(1, OTHERS, every=2_880_000, **OFFLINE)
    returning = agents(2, RETURNING, every=720_000, committed=watch.returned, **OFFLINE)
    live = agents(3, LIVE, committed=watch.reported, interval=500, every=500)
    await others.flush(60)
    async with running(returning):
        await until(lambda: len(watch.backlog) > BACKLOG // 2)
    # The new process begins with what upkeep is due.
    it.kill(signal.SIGTERM)
    await asyncio.to_thread(it.start)
    async with running(live):
        await until(lambda: not pending(store, horizon(clock.now())))
        async with running(returning):
            await until(lambda: not returning.tally().waiting)
    for each in (live, returning):
        await each.flush(30)
    await proxy.stop()
    return watch


@contextlib.asynccontextmanager
async def running(agents: Fleet) -> AsyncIterator[None]:
    """Agents that report while the block runs."""
    task = asyncio.create_task(agents.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for it, a minute at most."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


def differences(made: Iterable[object], held: Iterable[object]) -> list[object]:
    """The first few places at which they differ."""
    return [*islice((pair for pair in zip_longest(made, held) if pair[0] != pair[1]), 3)]


@pytest.mark.slow
def test_a_day_s_backlog_of_many(tmp_path: Path, postgres_database: str) -> None:
    """No live report waits for the backlog; all samples are there once; rollups made before are made again."""
    truth = Truth()
    with server(tmp_path, postgres_database) as it, opened(postgres_database) as store:
        watch = asyncio.run(come_back(it, store, truth))
        # By then all hours and days that were touched are over.
        run_once(store, clock.now() + DAY + HOUR)
        made = truth.every()
        hours = expected.points(made, HOUR)
        assert len(made) > (OTHERS + RETURNING) * 360 * GPUS
        assert not differences(made, stored.every(store))
        assert not differences(hours, stored.points(store, HOURLY))
        assert not differences(expected.points(hours, DAY), stored.points(store, DAILY))
        for table, step in ((fleet_minutes, MINUTE), (fleet_hours, HOUR)):
            rows = expected.fleet_rows(store, made, step), expected.fleet_rows_held(store, table)
            assert not differences(*(sorted(each.items()) for each in rows))
    overtaken = [after - before for before, after in watch.live if BACKLOG // 2 < after < BACKLOG]
    # An agent has one report on its way at a time: a live one waits for a few of each that is back, not for all.
    assert len(overtaken) > LIVE
    assert max(overtaken) < 10 * RETURNING
