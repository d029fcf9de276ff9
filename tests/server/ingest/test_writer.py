"""The writing thread: groups, bad reports, a store that is busy or gone, a queue that is full, an end."""

import asyncio
import contextlib
import dataclasses
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import anyio
import httpx
import pytest
from gpufleet_agent import wire
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest.prepare import Prepared, prepare
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.ingest.waiting import Bounds
from gpufleet_server.ingest.writer import Writer
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate
from gpufleet_server.store.tokens import TokenCache
from sqlalchemy import text

from tests import postgres
from tests.postgres import Postgres
from tests.server import stored
from tests.server.fixtures import NewDatabase
from tests.server.ingest.agents import DAY, SECOND, Agent, Server, Time, fresh_id, run, until

TIME = Time()


def _prepared(agent: Agent, report: wire.Report, *, header: bool = True) -> Prepared:
    sent = agent.clock() if header else None
    return prepare(wire.encode(report), sent, agent.node, "alpha", agent.time())


@contextlib.asynccontextmanager
async def _writer(store: Store, **bounds: Any) -> AsyncIterator[Writer]:
    """A writer that runs; leaving drains it."""
    writer = Writer(store, TokenCache(store, TIME), Statistics(), now=TIME, bounds=Bounds(**bounds))
    writer.start()
    try:
        yield writer
    finally:
        await asyncio.to_thread(writer.stop)


def _told(story: Callable[[], Awaitable[None]]) -> None:
    anyio.run(story)


def _count(store: Store, table: str) -> int:
    with store.reading() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one())


async def _outcomes(answers: list[asyncio.Future[wire.Ack]]) -> list[wire.Ack | BaseException]:
    async with asyncio.timeout(60):
        return await asyncio.gather(*answers, return_exceptions=True)


def test_reports_that_wait_are_committed_together(store: Store) -> None:
    """A hundred reports that came together are a commit or two, and every sample is there."""

    async def story() -> None:
        statistics = Statistics()
        writer = Writer(store, TokenCache(store, TIME), statistics, now=TIME)
        agents = [Agent(TIME, node=fresh_id()) for _ in range(100)]
        reports = [_prepared(agent, agent.report()) for agent in agents]
        writer.start()
        outcomes = await _outcomes([writer.submit(each) for each in reports])
        assert [cast(wire.Ack, each).duplicate for each in outcomes] == [False] * 100
        await asyncio.to_thread(writer.stop)
        assert statistics.commits <= 3
        assert statistics.committed_reports == 100
        assert statistics.samples == stored.count(store) == 200
        assert statistics.queued_reports == statistics.queued_bytes == 0

    _told(story)


def test_what_takes_several_rounds_is_added_to_minutes_together(store: Store) -> None:
    """Rosters of one node are compared one after the other; samples count to the model that the GPU had in each."""

    async def story() -> None:
        statistics = Statistics()
        writer = Writer(store, TokenCache(store, TIME), statistics, now=TIME)
        one, other = Agent(TIME), Agent(TIME, node=fresh_id())
        reports = [_prepared(one, one.report(roster=one.roster(model=model))) for model in ("H100", "H200", "H100")]
        writer.start()
        answers = [writer.submit(each) for each in (*reports, _prepared(other, other.report()))]
        assert [cast(wire.Ack, each).seq for each in await _outcomes(answers)] == [1, 2, 3, 1]
        await asyncio.to_thread(writer.stop)
        assert statistics.commits <= 2

    _told(story)
    query = (
        "SELECT model, sum(observed) FROM fleet_minutes JOIN fleet_groups USING (group_id) GROUP BY model ORDER BY 1"
    )
    with store.reading() as connection:
        found = [(model, int(ms)) for model, ms in connection.execute(text(query))]
    assert found == [("", 2000), ("H100", 4000), ("H200", 2000)]


def test_a_bad_report_fails_alone(store: Store) -> None:
    """Of reports in one transaction two are refused; they leave nothing, their neighbours are stored."""

    async def story() -> None:
        agents = [Agent(TIME, node=fresh_id(), fast=fast) for fast in (0, DAY, 0, 0)]
        reports = [_prepared(agent, agent.report(), header=False) for agent in agents]
        wrong = agents[3].samples([TIME()], fb_used=[1, -1])
        reports[3] = _prepared(agents[3], agents[3].report(samples=[wrong]))
        async with _writer(store) as writer:
            first, early, third, negative = await _outcomes([writer.submit(each) for each in reports])
        assert cast(wire.Ack, first).seq == cast(wire.Ack, third).seq == 1
        assert "future" in cast(Problem, early).detail
        assert cast(Problem, negative).field == "samples[0].columns.fb_used[1]"
        with store.reading() as connection:
            nodes = connection.execute(text("SELECT uuid FROM nodes WHERE last_seen > 0 AND version > 0")).scalars()
            assert set(nodes) == {agents[0].node, agents[2].node}

    _told(story)


def test_a_report_that_breaks_the_store_s_rules_is_refused_alone(store: Store) -> None:
    """What the database will never take is a 422: sent again it would not pass."""

    async def story() -> None:
        agents = [Agent(TIME, node=fresh_id()) for _ in range(7)]
        bad = agents[4]
        _forbid(store, bad.node)
        async with _writer(store) as writer:
            outcomes = await _outcomes([writer.submit(_prepared(agent, agent.report())) for agent in agents])
        problem = cast(Problem, outcomes.pop(4))
        assert (problem.status, problem.field) == (422, "body")
        assert "forbidden" in problem.detail
        assert all(cast(wire.Ack, each).seq == 1 for each in outcomes)
        assert stored.count(store) == 12

    _told(story)


def _forbid(store: Store, node: str) -> None:
    """Have the database refuse a node."""
    with store.writing() as connection:
        if store.dialect == "sqlite":
            rule = f"WHEN NEW.uuid = '{node}' BEGIN SELECT RAISE(ABORT, 'forbidden'); END"
            connection.exec_driver_sql(f"CREATE TRIGGER forbid BEFORE INSERT ON nodes {rule}")
        else:
            connection.exec_driver_sql(f"ALTER TABLE nodes ADD CONSTRAINT forbidden CHECK (uuid <> '{node}')")


def test_a_fault_of_ours_fails_one_report(store: Store) -> None:
    """What is not the report's fault is a 500, so that its agent keeps it; its neighbours are stored."""

    async def story() -> None:
        good, bad = Agent(TIME, node=fresh_id()), Agent(TIME, node=fresh_id())
        broken = dataclasses.replace(_prepared(bad, bad.report()), received_at=cast(int, object()))
        async with _writer(store) as writer:
            outcomes = await _outcomes([writer.submit(each) for each in (_prepared(good, good.report()), broken)])
        assert cast(wire.Ack, outcomes[0]).seq == 1
        assert cast(Problem, outcomes[1]).status == 500
        assert "log says why" in cast(Problem, outcomes[1]).detail
        assert _count(store, "nodes") == 1

    _told(story)


def test_what_waits_is_written_before_the_end(store: Store) -> None:
    """A stop drains the queue; what comes after it is told to come again."""

    async def story() -> None:
        agent = Agent(TIME)
        reports = [_prepared(agent, agent.report()) for _ in range(300)]
        async with _writer(store, batch=100) as writer:
            answers = [writer.submit(each) for each in reports]
        assert len(await _outcomes(answers)) == 300
        assert writer.trouble is not None
        with pytest.raises(Problem, match="stopping"):
            writer.submit(reports[0])

    _told(story)


def test_a_full_queue_is_a_503(embedded: Store) -> None:
    """When writing falls behind, agents are told when to come again, the server says it is not ready, and recovers."""

    async def story(server: Server) -> None:
        agents = [server.agent(node=fresh_id()) for _ in range(6)]
        answers: list[httpx.Response] = []

        async def send(agent: Agent) -> None:
            answers.append(await server.send(agent, agent.report()))

        async with anyio.create_task_group() as group:
            with server.store.writing():
                group.start_soon(send, agents[0])
                # The first is taken by the writer, which then waits for the store; the next two wait.
                await until(lambda: server.statistics.body_bytes > 0 and server.statistics.queued_reports == 0)
                for agent in agents[1:]:
                    group.start_soon(send, agent)
                await until(lambda: len(answers) == 3)
                ready = await server.client.get("/readyz")
                assert (ready.status_code, ready.json()["detail"]) == (503, "too many reports wait to be written")
        assert sorted(answer.status_code for answer in answers) == [200] * 3 + [503] * 3
        full = next(answer for answer in answers if answer.status_code == 503)
        assert 5 <= int(full.headers["retry-after"]) <= 15
        assert "wait to be written" in full.json()["detail"]
        assert (await server.client.get("/readyz")).status_code == 200
        assert server.counts()["samples"] == 6

    run(embedded, story, max_waiting=2)


def test_a_store_that_is_locked_is_a_503(new_sqlite: NewDatabase, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program that holds the database delays a report; nothing is acknowledged, and the next one is taken."""
    monkeypatch.setattr("gpufleet_server.store.sqlite._BUSY_MS", 100)
    url = new_sqlite()

    async def story(server: Server) -> None:
        agent = server.agent()
        report = agent.report()
        with contextlib.closing(sqlite3.connect(url.removeprefix("sqlite:///"), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            answer = await server.send(agent, report)
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
            other.execute("ROLLBACK")
        assert not any(server.counts().values())
        assert not (await server.send(agent, report)).json()["duplicate"]

    with contextlib.closing(Store.open(url)) as store:
        run(store, story)


def test_a_full_disk_is_a_503(embedded: Store) -> None:
    """A database that can't grow takes nothing half; with room again the same report is stored."""

    async def story(server: Server) -> None:
        agent = server.agent()
        await server.send(agent, agent.report())
        server.time.at += 3600 * SECOND
        wall = agent.clock().wall
        report = agent.report(samples=[agent.samples([wall - n * SECOND for n in reversed(range(3000))])])
        before = server.counts()
        with server.store.writing() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 10}")
        assert (await server.send(agent, report)).status_code == 503
        assert server.counts() == before
        ready = await server.client.get("/readyz")
        assert (ready.status_code, ready.json()["detail"]) == (503, "the last commit failed: database or disk is full")
        with server.store.writing() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert (await server.send(agent, report)).status_code == 200
        assert (await server.client.get("/readyz")).status_code == 200
        assert server.counts()["samples"] == before["samples"] + 6000

    run(embedded, story)


@pytest.fixture
def embedded(new_sqlite: NewDatabase) -> Any:
    """A store on SQLite, for what is SQLite's own."""
    with contextlib.closing(Store.open(new_sqlite())) as store:
        yield store


def test_a_database_that_goes_and_comes_back(tmp_path: Path) -> None:
    """While it is gone every report gets a quick 503, /readyz says why, little memory is taken; then it goes on."""

    async def story(server: Server) -> None:
        agent = server.agent()
        assert (await server.send(agent, agent.report())).status_code == 200
        late = agent.report()
        server.time.at += SECOND
        await asyncio.to_thread(database.kill)
        assert (await server.send(agent, late)).status_code == 503
        answer = await server.client.get("/readyz")
        assert answer.status_code == 503
        assert "does not answer" in answer.json()["detail"]
        for _ in range(20):
            answer = await server.send(agent, late)
            assert (answer.status_code, "retry-after" in answer.headers) == (503, True)
        assert server.statistics.queued_reports == server.statistics.queued_bytes == 0
        await asyncio.to_thread(database.start)
        with anyio.fail_after(20):
            while (await server.client.get("/readyz")).status_code != 200:  # noqa: ASYNC110
                await anyio.sleep(0.05)
        assert not (await server.send(agent, late)).json()["duplicate"]
        assert server.counts()["samples"] == 4

    with (
        postgres.postgres(tmp_path, {"max_connections": 50}) as database,
        contextlib.closing(_migrated(database)) as store,
    ):
        run(store, story)


def _migrated(database: Postgres) -> Store:
    store = Store.open(database.create_database("fleet"))
    migrate(store)
    return store


def test_a_database_that_can_only_be_read_is_a_503(new_postgresql: NewDatabase) -> None:
    """A standby takes nothing: agents come again, and the writer waits for one that does."""

    async def story() -> None:
        agents = [Agent(TIME, node=fresh_id()) for _ in range(3)]
        async with _writer(store) as writer:
            outcomes = await _outcomes([writer.submit(_prepared(agent, agent.report())) for agent in agents])
        assert {cast(Problem, each).status for each in outcomes} == {503}

    url = f"{new_postgresql()}?options=-c%20default_transaction_read_only%3Don"
    with contextlib.closing(Store.open(url)) as store:
        _told(story)


def test_a_table_that_is_missing_ends_no_writer(embedded: Store) -> None:
    """What is done once in a while fails, is told, and the thread goes on to its end."""

    async def story() -> None:
        with embedded.writing() as connection:
            connection.execute(text("ALTER TABLE streams RENAME TO hidden"))
        async with _writer(embedded):
            pass

    _told(story)


def test_streams_that_ended_long_ago_are_forgotten(store: Store) -> None:
    """After 400 days without a report the last number of a stream is of no use."""

    async def story() -> None:
        with store.writing() as connection:
            for days in (399, 401):
                seen = TIME() - days * DAY
                connection.execute(text(f"INSERT INTO streams VALUES (1, 'seen {days}', 1, {seen})"))
        async with _writer(store):
            pass
        with store.reading() as connection:
            assert connection.execute(text("SELECT stream FROM streams")).scalars().all() == ["seen 399"]

    _told(story)
