"""The board gpufleet itself over rows that the real writer made of a real server's counters: as many as were sent."""

import contextlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import psycopg
import pytest
from gpufleet_agent import wire
from gpufleet_agent.catalogue import EVERY_SAMPLE
from gpufleet_server.domain.server_name import server_name
from gpufleet_server.own_minutes import OwnMinutes
from gpufleet_server.store import upkeep
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate
from gpufleet_server.store.seal import horizon

from tests import postgres
from tests.dashboards.fleet.boards import Viewer
from tests.dashboards.grafana_sql.front import Range
from tests.dashboards.own.rows import MINUTE, SECOND
from tests.server.ingest.agents import Agent, Server, Time, run
from tests.server.usage import piece, using

_MINUTES = 3
_OVERDUE = 7200 * SECOND


@dataclass
class Sent:
    """What a test sent within a minute, by the columns of panels, and the seconds that all of it took."""

    counts: dict[str, float]
    took: float = 0.0
    cpu: float = 0.0


@dataclass
class _Story:
    """Three minutes of a server, each with more than the one before; its upkeep told that it took so long."""

    clock: Time
    store: Store
    sent: list[Sent] = field(default_factory=list)

    async def __call__(self, server: Server) -> None:
        """Each minute is written by the real writer at its end."""
        kept = upkeep.Statistics(elected=True, sealed_until=horizon(self.clock.at) - _OVERDUE)
        minutes = OwnMinutes(self.store, server.statistics, kept, self.clock)
        agent = server.agent()
        for number in range(_MINUTES):
            began, cpu = time.monotonic(), time.process_time()
            counts = await _minute(server, agent, number + 1)
            kept.steps["seal"] = upkeep.Done(seconds=6.0 * (number + 1), cpu_seconds=3.0 * (number + 1))
            self.clock.at += MINUTE
            minutes.write()
            self.sent.append(Sent(counts, time.monotonic() - began, time.process_time() - cpu))


async def _minute(server: Server, agent: Agent, count: int) -> dict[str, float]:
    """So many reports of two samples of two GPUs, with a state, an event and a piece of usage; as many that fail."""
    body, before = 0, count * (count - 1) // 2
    for number in range(count):
        wall = agent.clock().wall - (count - number) * 10 * SECOND
        report = using(
            agent,
            piece(wall - SECOND, wall, agent.gpus[0]),
            samples=[agent.samples([wall - SECOND, wall])],
            states=[wire.State(wall, agent.gpus[0], "remap_pending", (before + number) % 2)],
            events=[wire.Event(at=wall, kind="xid", code=79, gpu=agent.gpus[1])],
            roster=agent.roster(),
        )
        encoded = wire.encode(report)
        for _ in range(2):
            assert (await server.send_bytes(agent, encoded)).status_code == 200
            body += len(encoded)
    for _ in range(count):
        assert (await server.send(agent, report, authorization="Bearer nonsense")).status_code == 401
        assert (await server.send_bytes(agent, b"nonsense")).status_code == 400
        body += len(b"nonsense")
    samples = 4 * count
    # The server's own, of a node that is new, is among them.
    events = count + (count == 1)
    return {
        "reports": count, "twice": count, "credentials": count, "content": count, "bytes": body, "samples": samples,
        "values": samples * len(EVERY_SAMPLE), "states": count, "events": events, "usage": count,
    }  # fmt: skip


@dataclass(frozen=True)
class _Told:
    """The board's connection, and what was sent in the minutes from `begin` (µs) on."""

    connection: psycopg.Connection[Any]
    begin: int
    sent: list[Sent]

    def rows(self, panel: str) -> list[dict[str, Any]]:
        """What a panel shows of these minutes, a row each."""
        viewer = Viewer(
            self.connection, "gpufleet", Range(self.begin // 1000, (self.begin + _MINUTES * MINUTE) // 1000)
        )
        viewer.choose(None)
        asked = viewer.panel(panel)
        found = [dict(zip([name for name, _ in asked.columns], row, strict=True)) for row in asked.rows]
        assert [round(row["time"].timestamp() * SECOND) for row in found] == [
            self.begin + number * MINUTE for number in range(_MINUTES)
        ]
        assert {row.get("server", server_name()) for row in found} == {server_name()}
        return found


@pytest.fixture(scope="module")
def told(postgres_server: str) -> Iterator[_Told]:
    """Three minutes of a server, some time ago."""
    name = f"server_tells_{secrets.token_hex(4)}"
    url = postgres.create_database(postgres_server, name)
    begin = time.time_ns() // 1000 // MINUTE * MINUTE - 30 * MINUTE
    with contextlib.closing(Store.open(url)) as store:
        migrate(store)
        clock = Time(begin)
        story = _Story(clock, store)
        run(store, story, clock)
    with psycopg.connect(url, autocommit=True) as connection:
        yield _Told(connection, begin, story.sent)
    postgres.drop_database(postgres_server, name)


@pytest.mark.parametrize(
    ("panel", "columns"),
    [
        ("Reports", {"reports": "reports"}),
        ("Samples and values", {"samples": "samples", "values": "values"}),
        ("Traffic", {"bytes": "bytes"}),
        ("Events, states and usage", {"events": "events", "states": "states", "usage": "usage"}),
    ],
)
def test_what_came_in_a_second(told: _Told, panel: str, columns: dict[str, str]) -> None:
    """As much as agents sent in a minute, by its seconds; of reports those that were stored."""
    rows = told.rows(panel)
    for column, name in columns.items():
        assert [row[column] * 60 for row in rows] == pytest.approx([each.counts[name] for each in told.sent])


@pytest.mark.parametrize(
    ("panel", "columns"),
    [
        ("Refused", {"credentials": "credentials", "content": "content", "turned_away": None}),
        ("Twice, and too late", {"twice": "twice", "too_late": None}),
        ("Failed commits", {"failed": None}),
        ("Queue", {"queued": None}),
    ],
)
def test_what_was_not_taken(told: _Told, panel: str, columns: dict[str, str | None]) -> None:
    """As many as were wrong, or came twice; nothing failed, and at the end of each minute nothing waited."""
    rows = told.rows(panel)
    for column, name in columns.items():
        assert [row[column] for row in rows] == [each.counts[name] if name else 0 for each in told.sent]


def test_what_the_server_took(told: _Told) -> None:
    """Times and CPU are no more than what passed while it worked, and not nothing; memory is this process's."""
    for each, commits, waits, cpu, memory in zip(
        told.sent, *map(told.rows, ("Commits take", "Reports wait", "CPU", "Memory")), strict=True
    ):
        assert 0 < commits["mean"] <= commits["longest"] < each.took
        assert 0 < waits["waited"] < each.took
        assert 0 < cpu["process"] * 60 < each.cpu + 1
        assert 2**24 < memory["memory"] < 2**36


def test_what_its_upkeep_took(told: _Told) -> None:
    """Seconds at work through those of the minute, of this process's CPU half as many; sealing is two hours behind."""
    assert [row["share"] for row in told.rows("Upkeep takes")] == pytest.approx([0.1, 0.1, 0.1])
    assert [row["upkeep"] for row in told.rows("CPU")] == pytest.approx([0.05, 0.05, 0.05])
    assert all(_OVERDUE / SECOND <= row["behind"] <= _OVERDUE / SECOND + 3600 for row in told.rows("Sealing behind"))
