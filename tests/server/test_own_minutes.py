"""What a server tells of each minute."""

import logging
from typing import Any

import pytest
from gpufleet_server.domain.server_name import server_name
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.own_minutes import MINUTE, OwnMinutes
from gpufleet_server.store import upkeep
from gpufleet_server.store.engine import Store
from gpufleet_server.store.server_minutes import server_hours, server_minutes
from gpufleet_server.store.tiers import HOUR
from sqlalchemy import select

from tests.server.fixtures import database, new_postgresql, new_sqlite, store
from tests.server.ingest.agents import Server, run

__all__ = ["database", "new_postgresql", "new_sqlite", "store"]

_START = 28_000_000 * MINUTE + 20_000_000


class _Clock:
    def __init__(self) -> None:
        self.now = _START

    def __call__(self) -> int:
        return self.now


def _rows(store: Store) -> list[Any]:
    with store.reading() as connection:
        return list(connection.execute(select(server_minutes).order_by(server_minutes.c.at)))


def test_a_row_has_what_was_done_since_the_last(store: Store) -> None:
    """Counts of that time alone; the longest commit; what waits stands as it is; absent where there was no commit."""
    clock, ingest, kept = _Clock(), Statistics(samples=1000, queued_reports=7), upkeep.Statistics(elected=True)
    minutes = OwnMinutes(store, ingest, kept, clock)
    ingest.samples += 50
    ingest.reports["stored"] += 3
    ingest.committed_reports, ingest.waited_seconds = 3, 0.75
    for status in (401, 403, 422, 503):
        ingest.refuse(status)
    for seconds in (0.25, 0.5):
        ingest.commit(seconds)
    kept.steps["seal"] = upkeep.Done(runs=1, seconds=2.0, cpu_seconds=0.5)
    clock.now = _START + 40_000_000
    minutes.write()
    clock.now += MINUTE
    minutes.write()
    first, second = _rows(store)
    assert (first.server, first.at, first.covered) == (server_name(), 28_000_000 * MINUTE, 40_000)
    assert (first.samples, first.stored, first.duplicate, first.commits) == (50, 3, 0, 2)
    assert (first.refused_credentials, first.refused_content, first.turned_away) == (2, 1, 1)
    assert (first.commit_mean, first.commit_max, first.waited_mean) == (0.375, 0.5, 0.25)
    assert (first.upkeep, first.upkeep_cpu, first.elected, first.queued_reports) == (2.0, 0.5, True, 7)
    assert first.memory > 1 << 20
    assert first.cpu > 0
    assert (second.at, second.covered) == (28_000_001 * MINUTE, 60_000)
    assert (second.samples, second.commits, second.refused_content, second.queued_reports) == (0, 0, 0, 7)
    assert (second.commit_mean, second.commit_max, second.waited_mean) == (None, None, None)


def test_what_can_not_be_written_is_in_the_next_row(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """Which says how long it is of; and a minute that another process of the same name has written is left to it."""
    clock, ingest = _Clock(), Statistics()
    minutes = OwnMinutes(store, ingest, upkeep.Statistics(), clock)
    OwnMinutes(store, Statistics(), upkeep.Statistics(), clock).write()
    ingest.samples = 5
    minutes.write()
    with store.writing() as connection:
        connection.exec_driver_sql("DELETE FROM server_minutes")
    clock.now += MINUTE
    minutes.write()
    assert [(row.samples, row.covered) for row in _rows(store)] == [(5, 60_000)]


def test_an_hour_has_what_its_minutes_have(store: Store) -> None:
    """All together, the most, and the mean by what it is of; where a minute had no commit it counts for nothing."""
    clock, ingest, kept = _Clock(), Statistics(), upkeep.Statistics(elected=True)
    clock.now = _START // HOUR * HOUR + HOUR - 3 * MINUTE
    minutes = OwnMinutes(store, ingest, kept, clock)
    for reports, queued, times in ((1, 5, [0.5]), (3, 9, [0.1, 0.1, 0.1]), (0, 2, []), (4, 1, [0.25])):
        ingest.reports["stored"] += reports
        ingest.committed_reports += reports
        ingest.waited_seconds += reports * reports
        ingest.queued_reports = queued
        for seconds in times:
            ingest.commit(seconds)
        clock.now += MINUTE
        minutes.write()
    with store.reading() as connection:
        first, second = connection.execute(select(server_hours).order_by(server_hours.c.at)).all()
    assert (first.server, second.at - first.at, second.at) == (server_name(), HOUR, _START // HOUR * HOUR + HOUR)
    assert (first.covered, first.stored, first.commits, first.queued_reports) == (180_000, 4, 4, 9)
    assert (first.commit_mean, first.commit_max) == (pytest.approx(0.2), 0.5)
    assert first.waited_mean == pytest.approx((1 + 9) / 4)
    assert (second.covered, second.stored, second.queued_reports, second.commit_mean) == (60_000, 4, 1, 0.25)
    each = _rows(store)
    assert first.cpu == pytest.approx(sum(row.cpu for row in each[:3]))
    assert first.memory == max(row.memory for row in each[:3])


def test_a_store_that_is_gone_is_told_and_survived(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    """In the log; the next minutes are tried again."""
    minutes = OwnMinutes(store, Statistics(), upkeep.Statistics())
    with store.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE server_minutes RENAME TO hidden")
    with caplog.at_level(logging.WARNING):
        minutes.start()
        minutes.stop()
    assert "what this server did is not kept" in caplog.text
    with store.writing() as connection:
        connection.exec_driver_sql("ALTER TABLE hidden RENAME TO server_minutes")
    minutes.write()
    assert len(_rows(store)) == 1


def test_a_server_tells_of_what_agents_sent(store: Store) -> None:
    """Reports stored, repeated and refused over real requests; written at the latest when it ends."""

    async def story(server: Server) -> None:
        agent = server.agent()
        report = agent.report(roster=agent.roster())
        for _ in range(2):
            assert (await server.send(agent, report)).status_code == 200
        assert (await server.send(agent, report, authorization="Bearer nonsense")).status_code == 401
        assert (await server.send_bytes(agent, b"nonsense")).status_code == 400

    run(store, story)
    rows = _rows(store)
    told = ("stored", "duplicate", "refused_credentials", "refused_content", "turned_away")
    assert [sum(getattr(row, name) for row in rows) for name in told] == [1, 1, 1, 1, 0]
    assert sum(row.commits for row in rows) == 2
    assert sum(row.body_bytes for row in rows) > 100
    assert max(row.commit_max for row in rows if row.commit_max is not None) > 0
