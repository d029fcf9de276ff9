"""PostgreSQL's partitions by time: made ahead, found, and dropped. SQLite has none."""

import contextlib
import dataclasses
import datetime
from collections.abc import Iterable, Iterator

from sqlalchemy import Connection, Table, text

from gpufleet_server.store.tiers import DAILY, DAY, HOUR, HOURLY, SEALED, recent
from gpufleet_server.store.usage import usage, usage_daily


@dataclasses.dataclass(frozen=True, slots=True)
class Cut:
    """How a table is cut: partitions of `length` µs, and how many of them after the present one are kept ready."""

    table: Table
    length: int
    ahead: int


# A partition of the tiers of planes holds whole rows; of `recent` it is gone once its hour is sealed.
CUTS = (
    Cut(recent, HOUR, 6),
    Cut(SEALED.table, DAY, 3),
    Cut(HOURLY.table, 32 * DAY, 1),
    Cut(DAILY.table, 384 * DAY, 1),
    Cut(usage, DAY, 3),
    Cut(usage_daily, 32 * DAY, 1),
)


def in_partitions() -> frozenset[str]:
    """The tables that are cut on PostgreSQL."""
    return frozenset(cut.table.name for cut in CUTS)


# Whoever reads a table keeps partitions from being made and dropped, and all others wait behind who waits for that.
_NOT_LONG_S = 2
# Reports are not written to these tables: only readers wait.
_LATE_S = 10


@dataclasses.dataclass(frozen=True, slots=True)
class Partition:
    """A partition that exists: [begin, end) of the key, µs; both None for the one that takes what fits no other."""

    name: str
    begin: int | None
    end: int | None


def make_ahead(connection: Connection, now: int, cuts: Iterable[Cut] = CUTS) -> int:
    """Make the partitions of now and of the time to come, of these tables; how many were missing. 0 on SQLite.

    OperationalError where others read for longer than two seconds: what comes in waits behind it.
    """
    if connection.dialect.name == "sqlite":
        return 0
    times = ((cut, now + n * cut.length) for cut in cuts for n in range(-1, cut.ahead + 1))
    return sum(make(connection, cut, at, _NOT_LONG_S) for cut, at in times)


def make(connection: Connection, cut: Cut, at: int, wait_s: int = _LATE_S) -> bool:
    """Make the partition that holds `at` where there is none, with what the default one holds of its time.

    OperationalError where others read the table for longer than `wait_s` seconds.
    """
    begin = at // cut.length * cut.length
    name = f"{cut.table.name}_{datetime.datetime.fromtimestamp(begin / 1e6, datetime.UTC):%Y%m%d_%H}"
    if _exists(connection, name):
        return False
    end = begin + cut.length
    made = f"CREATE TABLE {name} PARTITION OF {cut.table.name} FOR VALUES FROM ({begin}) TO ({end}){_with(cut)}"
    with _waiting(connection, wait_s):
        # Another server may be making it: who comes second finds it.
        connection.execute(text(f"LOCK TABLE ONLY {cut.table.name} IN ACCESS EXCLUSIVE MODE"))
        if _exists(connection, name):
            return False
        if cut.table is recent:
            _made_around_late(connection, made, begin, end)
        else:
            connection.execute(text(made))
    return True


def make_for(connection: Connection, table: Table, at: int) -> bool:
    """Make the partition of a table that holds `at` (µs) where there is none: for late data. False on SQLite.

    OperationalError where others read the table for longer than ten seconds: try again later.
    """
    if connection.dialect.name == "sqlite":
        return False
    return make(connection, next(cut for cut in CUTS if cut.table is table), at)


def listing(connection: Connection, table: Table) -> list[Partition]:
    """The partitions of a table, oldest first; none on SQLite."""
    if connection.dialect.name == "sqlite":
        return []
    query = text(
        "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
        "WHERE i.inhparent = CAST(:name AS regclass)"
    )
    # One that is being dropped has no bounds any more.
    rows = [row for row in connection.execute(query, {"name": table.name}) if row[1] is not None]
    found = [_parsed(*row) for row in rows]
    return sorted(found, key=lambda each: each.begin or 0)


def drop_before(connection: Connection, table: Table, before: int) -> list[str]:
    """Drop the partitions that end at `before` (µs) or earlier, and all that they hold; their names.

    OperationalError where a reader holds one of them for longer than the lock is waited for: try again later.
    """
    old = [each for each in listing(connection, table) if each.end is not None and each.end <= before]
    for each in old:
        drop(connection, each.name)
    return [each.name for each in old]


def drop(connection: Connection, name: str) -> None:
    """Drop one partition, if it is still there. OperationalError where others hold it for more than two seconds."""
    connection.execute(text(f"SET LOCAL lock_timeout = '{_NOT_LONG_S}s'"))
    connection.execute(text(f"DROP TABLE IF EXISTS {name}"))


@contextlib.contextmanager
def _waiting(connection: Connection, seconds: int) -> Iterator[None]:
    """Wait for locks for so long, and after that as long as before."""
    before = connection.execute(text("SHOW lock_timeout")).scalar_one()
    connection.execute(text(f"SET LOCAL lock_timeout = '{seconds}s'"))
    yield
    connection.execute(text(f"SET LOCAL lock_timeout = '{before}'"))


def _made_around_late(connection: Connection, made: str, begin: int, end: int) -> None:
    # A partition can't be made while the default one holds rows of its time.
    of_its_time = f"FROM recent_late WHERE first >= {begin} AND first < {end}"
    for statement in (
        "LOCK TABLE recent IN ACCESS EXCLUSIVE MODE",
        f"CREATE TEMPORARY TABLE moved ON COMMIT DROP AS SELECT * {of_its_time}",
        f"DELETE {of_its_time}",
        made,
        "INSERT INTO recent SELECT * FROM moved",
        "DROP TABLE moved",
    ):
        connection.execute(text(statement))


def _with(cut: Cut) -> str:
    # Rows of `recent` live for an hour or two: they are neither compressed nor vacuumed, and fit into a page.
    return " WITH (autovacuum_enabled = off, toast_tuple_target = 8160)" if cut.table is recent else ""


def _exists(connection: Connection, name: str) -> bool:
    return bool(connection.execute(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": name}).scalar_one())


def _parsed(name: str, bound: str) -> Partition:
    numbers = list(_numbers(bound))
    return Partition(name, *numbers) if len(numbers) == 2 else Partition(name, None, None)


def _numbers(bound: str) -> Iterator[int]:
    # FOR VALUES FROM ('1790000000000000') TO ('1790003600000000')
    return (int(part) for part in bound.split("'")[1::2])
