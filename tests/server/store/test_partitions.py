"""PostgreSQL's partitions by time."""

import contextlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from gpufleet_server.store import partitions
from gpufleet_server.store.engine import Store
from gpufleet_server.store.leases import UPKEEP
from gpufleet_server.store.tiers import DAY, HOUR, SEALED, recent
from gpufleet_server.store.upkeep import Upkeep
from sqlalchemy import Connection, insert, text
from sqlalchemy.exc import OperationalError

from tests.server.ingest.agents import NOW, Server, run
from tests.server.store.locks import somebody_waits, wait_until

_NOON = 1_790_000_000_000_000 // DAY * DAY + 12 * HOUR


def _add(connection: Connection, first: int) -> None:
    row = {"node_id": 1, "first": first, "last": first, "slots": b"", "times": b"", "durations": b""}
    connection.execute(insert(recent).values(row))


def _where(connection: Connection) -> list[str]:
    return list(connection.execute(text("SELECT tableoid::regclass::text FROM recent ORDER BY first")).scalars())


def test_partitions_are_made_ahead_once(postgresql: Store) -> None:
    """Those of now and of the hours and days to come; asked again, none is missing."""
    with postgresql.writing() as connection:
        made = partitions.make_ahead(connection, _NOON)
        assert made > 0
        assert partitions.make_ahead(connection, _NOON) == 0
        _add(connection, _NOON + 6 * HOUR)
        assert _where(connection) == ["recent_20260921_18"]


def test_late_rows_move_into_a_partition_that_is_made_for_them(postgresql: Store) -> None:
    """What came for a time without partition lies with the late ones, until there is one."""
    with postgresql.writing() as connection:
        _add(connection, _NOON)
        _add(connection, _NOON + HOUR)
        assert _where(connection) == ["recent_late", "recent_late"]
        assert partitions.make_for(connection, recent, _NOON + 5)
        assert _where(connection) == ["recent_20260921_12", "recent_late"]


def test_old_partitions_are_dropped_whole(postgresql: Store) -> None:
    """Those that ended before a time go; the one of that time, later ones and the one for late rows stay."""
    with postgresql.writing() as connection:
        for day in range(4):
            partitions.make_for(connection, SEALED.table, _NOON + day * DAY)
        before = _NOON + 2 * DAY
        assert partitions.drop_before(connection, SEALED.table, before) == ["sealed_20260921_00", "sealed_20260922_00"]
        assert partitions.drop_before(connection, SEALED.table, before) == []
        ends = [each.end for each in partitions.listing(connection, SEALED.table)]
        assert ends[:2] == [(_NOON // DAY + 3) * DAY, (_NOON // DAY + 4) * DAY]


def test_a_reader_is_not_waited_for_long(postgresql: Store) -> None:
    """A partition that someone reads is left for another time, and reports are not held up meanwhile."""
    with postgresql.writing() as connection:
        partitions.make_for(connection, SEALED.table, _NOON)
    with postgresql.reading() as reader:
        reader.execute(text("SELECT count(*) FROM sealed"))
        with pytest.raises(OperationalError), postgresql.writing() as connection:
            partitions.drop_before(connection, SEALED.table, _NOON + 2 * DAY)


def test_none_is_made_behind_a_long_reader(postgresql: Store) -> None:
    """There are some for hours to come: it is tried again, instead of having reports wait for the reader's end."""
    with postgresql.reading() as reader:
        reader.execute(text("SELECT count(*) FROM recent"))
        with pytest.raises(OperationalError), postgresql.writing() as connection:
            partitions.make_ahead(connection, _NOON)
    with postgresql.writing() as connection:
        assert partitions.make_ahead(connection, _NOON) > 0


def test_who_waits_for_a_reader_keeps_no_other_waiting(postgresql: Store) -> None:
    """Partitions of `sealed` can't be made while it is read; `recent` can be read meanwhile."""
    with ThreadPoolExecutor(1) as thread, postgresql.reading() as reader:
        reader.execute(text("SELECT count(*) FROM sealed"))
        preparing = thread.submit(Upkeep(postgresql, now=lambda: _NOON).prepare)
        wait_until(lambda: somebody_waits(postgresql))
        reader.execute(text("SET LOCAL lock_timeout = '100ms'"))
        reader.execute(text("SELECT count(*) FROM recent"))
    preparing.result(60)


def test_a_server_makes_those_of_now_before_it_takes_reports(postgresql: Store) -> None:
    """Whenever its store was migrated, and though another server is elected to make them."""

    async def story(server: Server) -> None:
        agent = server.agent()
        assert (await server.send(agent, agent.report(samples=[agent.samples([NOW])]))).status_code == 200

    with contextlib.closing(postgresql.election(UPKEEP)) as other:
        assert other.won()
        run(postgresql, story)
    with postgresql.reading() as connection:
        assert _where(connection) == ["recent_20260921_14"]


def test_sqlite_has_none(store: Store) -> None:
    """Asked for partitions, SQLite has nothing to do and nothing to show."""
    with store.writing() as connection:
        made = partitions.make_ahead(connection, _NOON)
        assert (made > 0) == (store.dialect == "postgresql")
        assert bool(partitions.listing(connection, recent)) == (store.dialect == "postgresql")
