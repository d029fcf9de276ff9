"""A store as reports leave it: three nodes with samples of a day and more, states and events; rolled up."""

import asyncio
import dataclasses
import datetime
import random
from collections.abc import Iterator, Sequence
from typing import Any

import anyio
from gpufleet_agent import wire
from gpufleet_agent.catalogue import EVERY_SAMPLE, Metric, Reason
from gpufleet_server.ingest.prepare import prepare
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.ingest.writer import Writer
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fleet_rollups import roll_hours
from gpufleet_server.store.gpu_counts import count_gpus
from gpufleet_server.store.grafana.view import View
from gpufleet_server.store.rollups import roll_days
from gpufleet_server.store.seal import seal_until
from gpufleet_server.store.tiers import DAY, HOUR, MINUTE
from gpufleet_server.store.tokens import TokenCache
from sqlalchemy import text

from tests.server.ingest.agents import NOW, SECOND, Agent, Time

# Minutes before NOW.
_TIMES = [30 * 60, 25 * 60, *range(64, 60, -1), *range(9, -1, -1)]
HOSTS: tuple[dict[str, Any], ...] = (
    {"hostname": "alpha", "site": "east", "rack": "r1", "room": "h1", "cuda_version": "12.4", "kernel": "6.1"},
    {"hostname": "beta", "site": "west", "driver_version": "580.2", "os": "Debian 12", "simulated": True},
    {"hostname": "gamma", "driver_version": None},
)
GPUS: tuple[dict[str, Any], ...] = (
    {
        "vbios_version": "96.00",
        "inforom_image_version": "G520",
        "memory_total": 80 << 30,
        "pci_address": "0000:1B:00.0",
    },
    {"model": "A100", "gsp_firmware_version": "580.2", "board_part_number": "900-21010"},
    {"model": None},
)


@dataclasses.dataclass(frozen=True)
class Filled:
    """The store, who reported, and what they said beside samples."""

    store: Store
    agents: Sequence[Agent]
    states: Sequence[wire.State]
    events: Sequence[wire.Event]

    def rows(self, view: View, *names: str, order: str = "", where: str = "true") -> list[Any]:
        """Rows of a view: all columns, or these."""
        listed = ", ".join(view[name] for name in names or [column.name for column in view.columns])
        statement = f"SELECT {listed} FROM {view} WHERE {where}{f' ORDER BY {order}' if order else ''}"
        with self.store.reading() as connection:
            return list(connection.execute(text(statement)).mappings())


def fill(store: Store) -> Filled:
    """Report, seal all but the last hour, and roll up."""
    filled = anyio.run(_report, store)
    now = NOW + MINUTE
    roll_hours(store, now)
    count_gpus(store, now)
    seal_until(store, NOW // HOUR * HOUR - 20 * HOUR)
    roll_days(store, now + 2 * DAY)
    return filled


async def _report(store: Store) -> Filled:
    time, chance = Time(), random.Random(11)
    agents = [
        Agent(time, node=f"00000000-0000-4000-8000-00000000000{n}", gpus=(f"GPU-{n}a", f"GPU-{n}b"), stream=_stream(n))
        for n in range(len(HOSTS))
    ]
    states, events = list(_states(agents)), list(_events(agents))
    writer = Writer(store, TokenCache(store, time), Statistics(), now=time)
    writer.start()
    for agent, host, gpu in zip(agents, HOSTS, GPUS, strict=True):
        roster = agent.roster(host, **gpu)
        for ago in _TIMES:
            samples = agent.samples([NOW - ago * MINUTE], **_columns(chance, len(agent.gpus)))
            await _send(writer, agent, agent.report(samples=[samples], roster=roster if ago == _TIMES[0] else None))
        told = [[each for each in some if each.gpu in agent.gpus] for some in (states, events)]
        await _send(writer, agent, agent.report(samples=[], states=told[0], events=told[1]))
    await asyncio.to_thread(writer.stop)
    return Filled(store, agents, states, events)


async def _send(writer: Writer, agent: Agent, report: wire.Report) -> None:
    await writer.submit(prepare(wire.encode(report), agent.clock(), agent.node, "enrolled", agent.time()))


def _stream(number: int) -> str:
    return f"00000000-0000-4000-8000-0000000000a{number}"


def _columns(chance: random.Random, count: int) -> dict[str, list[int]]:
    """Any values that there can be, a third of them absent; uses of all kinds."""
    return {metric.name: [_value(chance, metric) for _ in range(count)] for metric in EVERY_SAMPLE}


def _value(chance: random.Random, metric: Metric) -> int:
    if chance.random() < 0.3:
        return metric.absent(chance.choice(list(Reason)))
    return chance.choice([0, 0, chance.randrange(300), chance.randrange(min(metric.highest, 1 << 40))])


def _states(agents: Sequence[Agent]) -> Iterator[wire.State]:
    for agent in agents:
        for number, gpu in enumerate(agent.gpus):
            for ago, stored in ((50, 0), (30, 3 * number), (10, 4 * number)):
                yield wire.State(NOW - ago * MINUTE, gpu, "ecc_dram_uncorrected", stored)
            yield wire.State(NOW - 40 * MINUTE, gpu, "power_limit", 7005)
    yield wire.State(NOW - 5 * MINUTE, agents[0].gpus[0], "power_limit", -(1 << 31) + Reason.FAILED)


def _events(agents: Sequence[Agent]) -> Iterator[wire.Event]:
    for agent, code in zip(agents, (79, 13, 4_000), strict=True):
        yield wire.Event(
            at=NOW - 20 * SECOND, kind="xid", gpu=agent.gpus[1], code=code, source="nvml", message="it fell"
        )
    yield wire.Event(at=NOW - 10 * SECOND, kind="sxid", gpu=agents[0].gpus[0], code=79, source="kernel log")


def at(micros: int) -> datetime.datetime:
    """A time as PostgreSQL gives it."""
    return datetime.datetime.fromtimestamp(micros // SECOND, datetime.UTC) + datetime.timedelta(
        microseconds=micros % SECOND
    )
