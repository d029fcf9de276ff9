"""The writing thread: groups, bad reports, a store that is busy, a queue that is full, an end."""

import dataclasses
import sqlite3
from typing import cast

import anyio
import httpx
import pytest
from gpufleet_agent import wire
from gpufleet_server.domain.problem import Problem
from gpufleet_server.ingest.prepare import Prepared, prepare
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.ingest.writer import Writer
from gpufleet_server.store.engine import Store
from gpufleet_server.store.tokens import TokenCache

from tests.server.ingest.agents import DAY, SECOND, Agent, Server, Time, fresh_id, opened, run, until

TIME = Time()


def _prepared(agent: Agent, report: wire.Report, *, header: bool = True) -> Prepared:
    sent = agent.clock() if header else None
    return prepare(wire.encode(report), sent, agent.node, "alpha", agent.time())


def _writer(store: Store) -> Writer:
    return Writer(store, TokenCache(store, TIME), Statistics(), now=TIME)


def _count(store: Store, table: str) -> int:
    with store.reading() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one())


def test_reports_that_wait_are_committed_together(store: Store) -> None:
    """A hundred reports that came meanwhile are one transaction."""
    statistics = Statistics()
    with opened(tmp_path) as store:
        writer = Writer(store, TokenCache(store, TIME), statistics, now=TIME)
        writer.start()
        with store.writing():
            agents = [Agent(TIME, node=fresh_id()) for _ in range(100)]
            answers = [writer.submit(_prepared(agent, agent.report())) for agent in agents]
        assert [answer.result(10).duplicate for answer in answers] == [False] * 100
        writer.stop()
        assert statistics.commits <= 2
        assert statistics.samples == _count(store, "samples") == 200
        assert statistics.queued_reports == statistics.queued_bytes == 0


def test_a_bad_report_fails_alone(store: Store) -> None:
    """Of three reports in one transaction the middle one is refused; it leaves nothing, its neighbours are stored."""
    with opened(tmp_path) as store:
        writer = _writer(store)
        writer.start()
        with store.writing():
            good, bad, other = (Agent(TIME, node=fresh_id(), fast=fast) for fast in (0, DAY, 0))
            answers = [writer.submit(_prepared(agent, agent.report(), header=False)) for agent in (good, bad, other)]
        assert answers[0].result(10).seq == answers[2].result(10).seq == 1
        with pytest.raises(Problem, match="future"):
            answers[1].result(10)
        writer.stop()
        with store.reading() as connection:
            nodes = connection.exec_driver_sql("SELECT uuid FROM nodes").scalars().all()
        assert set(nodes) == {good.node, other.node}


def test_a_report_that_breaks_the_store_s_rules_is_refused_alone(store: Store) -> None:
    """What the database will never take, here a node that a trigger forbids, is a 422: sent again it would not pass."""
    with opened(tmp_path) as store:
        good, bad = Agent(TIME, node=fresh_id()), Agent(TIME, node=fresh_id())
        with store.writing() as connection:
            forbid = f"WHEN NEW.uuid = '{bad.node}' BEGIN SELECT RAISE(ABORT, 'forbidden'); END"
            connection.exec_driver_sql(f"CREATE TRIGGER forbid BEFORE INSERT ON nodes {forbid}")
        writer = _writer(store)
        writer.start()
        with store.writing():
            answers = [writer.submit(_prepared(agent, agent.report())) for agent in (good, bad)]
        assert answers[0].result(10).seq == 1
        with pytest.raises(Problem, match="can't be stored: forbidden") as caught:
            answers[1].result(10)
        assert (caught.value.status, caught.value.field) == (422, "body")
        writer.stop()
        assert _count(store, "samples") == 2


def test_a_fault_of_ours_fails_one_report(store: Store) -> None:
    """What is not the report's fault is a 500, so that its agent keeps it; its neighbours are stored."""
    with opened(tmp_path) as store:
        writer = _writer(store)
        writer.start()
        good, bad = Agent(TIME, node=fresh_id()), Agent(TIME, node=fresh_id())
        broken = dataclasses.replace(_prepared(bad, bad.report()), received_at=cast(int, object()))
        with store.writing():
            answers = [writer.submit(each) for each in (_prepared(good, good.report()), broken)]
        assert answers[0].result(10).seq == 1
        with pytest.raises(Problem, match="log says why") as caught:
            answers[1].result(10)
        assert caught.value.status == 500
        writer.stop()
        assert _count(store, "nodes") == 1


def test_what_another_process_wrote_is_no_error(store: Store) -> None:
    """A GPU that came into the store behind the writer's back is found there."""
    with opened(tmp_path) as store:
        writer = _writer(store)
        writer.start()
        agent = Agent(TIME)
        writer.submit(_prepared(agent, agent.report())).result(10)
        with store.writing() as connection:
            columns = "node_id, uuid, lost, identity, first_seen"
            connection.exec_driver_sql(f"INSERT INTO gpus ({columns}) SELECT node_id, 'GPU-c', 0, '{{}}', 1 FROM nodes")
        agent.gpus = ("GPU-c",)
        agent.time.at += SECOND
        assert writer.submit(_prepared(agent, agent.report())).result(10).seq == 2
        writer.stop()
        assert (_count(store, "gpus"), _count(store, "samples")) == (3, 3)


def test_what_waits_is_written_before_the_end(store: Store) -> None:
    """A stop drains the queue; what comes after it is told to come again."""
    with opened(tmp_path) as store:
        writer = _writer(store)
        agent = Agent(TIME)
        writer.start()
        answers = [writer.submit(_prepared(agent, agent.report())) for _ in range(300)]
        writer.stop()
        assert all(answer.done() for answer in answers)
        assert not writer.ready
        with pytest.raises(Problem, match="stopping"):
            writer.submit(_prepared(agent, agent.report()))


def test_a_full_queue_is_a_503(store: Store) -> None:
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
                assert (await server.client.get("/readyz")).status_code == 503
        assert sorted(answer.status_code for answer in answers) == [200] * 3 + [503] * 3
        full = next(answer for answer in answers if answer.status_code == 503)
        assert full.headers["retry-after"] == "5"
        assert "wait to be written" in full.json()["detail"]
        assert (await server.client.get("/readyz")).status_code == 200
        assert server.counts()["samples"] == 6

    run(store, story, max_waiting=2)


def test_a_store_that_is_locked_is_a_503(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another program that holds the database delays a report; nothing is acknowledged, and the next one is taken."""
    monkeypatch.setattr("gpufleet_server.store.engine._BUSY_MS", 100)

    async def story(server: Server) -> None:
        agent = server.agent()
        report = agent.report()
        other = sqlite3.connect(tmp_path / "fleet.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        answer = await server.send(agent, report)
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        other.execute("ROLLBACK")
        other.close()
        assert not any(server.counts().values())
        assert not (await server.send(agent, report)).json()["duplicate"]

    run(store, story)


def test_a_full_disk_is_a_503(store: Store) -> None:
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
        with server.store.writing() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        assert (await server.send(agent, report)).status_code == 200
        assert server.counts()["samples"] == before["samples"] + 6000

    run(store, story)


def test_streams_that_ended_long_ago_are_forgotten(store: Store) -> None:
    """After 400 days without a report the last number of a stream is of no use."""
    with opened(tmp_path) as store:
        with store.writing() as connection:
            for days in (399, 401):
                seen = TIME() - days * DAY
                connection.exec_driver_sql(f"INSERT INTO streams VALUES (1, 'seen {days}', 1, {seen})")
        writer = _writer(store)
        writer.start()
        writer.stop()
        with store.reading() as connection:
            assert connection.exec_driver_sql("SELECT stream FROM streams").scalars().all() == ["seen 399"]
