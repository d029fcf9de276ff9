"""What each server did, a row a minute, and a row an hour of these: kept on both engines as long as the fleet's are."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Double,
    Float,
    Index,
    Integer,
    String,
    Table,
    case,
    cast,
    func,
    literal,
    select,
)

from gpufleet_server.store.bulk import insert_into
from gpufleet_server.store.schema import metadata
from gpufleet_server.store.tiers import HOUR

# Counts of that minute, by what `ingest.statistics` calls them.
COUNTED = ("samples", "values", "states", "events", "usage", "body_bytes", "commits", "failed_commits")
# What an hour has of its minutes: all together, the most, or the mean by what it is of.
_TOTALS = (
    "covered", "stored", "duplicate", "refused_credentials", "refused_content", "turned_away", *COUNTED, "too_late",
    "upkeep", "upkeep_cpu", "cpu",
)  # fmt: skip
_MOST = ("commit_max", "queued_reports", "queued_bytes", "sealing_overdue", "memory")
_MEANS = {"commit_mean": ("commits",), "waited_mean": ("stored", "duplicate")}


def _did() -> tuple[Column[Any], ...]:
    return (
        Column("stored", BigInteger, nullable=False, comment="reports"),
        Column("duplicate", BigInteger, nullable=False, comment="reports that were there already"),
        Column("refused_credentials", BigInteger, nullable=False, comment="answered 401 or 403"),
        Column("refused_content", BigInteger, nullable=False, comment="answered another 4xx"),
        Column("turned_away", BigInteger, nullable=False, comment="answered 5xx: to come again later"),
        *(Column(name, BigInteger, nullable=False) for name in COUNTED),
        Column("commit_mean", Float(53), comment="s; NULL: there was none, as of the next two"),
        Column("commit_max", Float(53)),
        Column("waited_mean", Float(53), comment="s from a report's arrival to the end of its commit"),
    )


def _took() -> tuple[Column[Any], ...]:
    return (
        Column("too_late", BigInteger, nullable=False, comment="samples of which only the rollup was kept"),
        Column("upkeep", Float(53), nullable=False, comment="s at work, pauses included"),
        Column("upkeep_cpu", Float(53), nullable=False, comment="s of CPU of this process for it"),
        Column("cpu", Float(53), nullable=False, comment="s of CPU of the whole process"),
        Column("memory", BigInteger, comment="bytes, resident; NULL where the system does not tell"),
    )


server_minutes = Table(
    "server_minutes",
    metadata,
    Column("server", String(256), primary_key=True),
    Column("at", BigInteger, primary_key=True, autoincrement=False, comment="when the minute begins"),
    Column("covered", Integer, nullable=False, comment="ms since the last row, or since the server began"),
    *_did(),
    Column("queued_reports", BigInteger, nullable=False, comment="at the end of the minute"),
    Column("queued_bytes", BigInteger, nullable=False),
    Column("elected", Boolean, nullable=False, comment="whether it did the upkeep at the end of the minute"),
    Column("sealing_overdue", BigInteger, comment="µs; NULL: another server does the upkeep"),
    *_took(),
    Index(None, "at"),
)

server_hours = Table(
    "server_hours",
    metadata,
    Column("server", String(256), primary_key=True),
    Column("at", BigInteger, primary_key=True, autoincrement=False, comment="when the hour begins"),
    Column("covered", BigInteger, nullable=False, comment="ms that its minutes tell of"),
    *_did(),
    Column("queued_reports", BigInteger, nullable=False, comment="the most at the end of a minute"),
    Column("queued_bytes", BigInteger, nullable=False),
    Column("sealing_overdue", BigInteger, comment="µs; NULL: another server did the upkeep"),
    *_took(),
    Index(None, "at"),
)


def add_up_hour(connection: Connection, server: str, minute: int) -> None:
    """Make the row of the hour in which a server's minute (µs) is, of those minutes of it that there are.

    One that covers more stays: minutes may be gone.
    """
    c, hour = server_minutes.c, minute // HOUR * HOUR
    values = {
        **{name: cast(func.sum(c[name]), server_hours.c[name].type) for name in _TOTALS},
        **{name: func.max(c[name]) for name in _MOST},
        **{name: _mean(c[name], sum((c[of] for of in by), literal(0))) for name, by in _MEANS.items()},
    }
    within = (c.server == server, c.at >= hour, c.at < hour + HOUR)
    query = select(c.server, literal(hour, BigInteger), *values.values()).where(*within).group_by(c.server)
    new = insert_into(connection, server_hours).from_select(["server", "at", *values], query)
    replaced = {name: new.excluded[name] for name in values}
    more = new.excluded.covered >= server_hours.c.covered
    connection.execute(new.on_conflict_do_update(index_elements=["server", "at"], set_=replaced, where=more))


def _mean(value: ColumnElement[Any], weight: ColumnElement[int]) -> ColumnElement[Any]:
    known = func.sum(case((value.is_not(None), weight)))
    return func.sum(value * weight) / func.nullif(cast(known, Double), 0)
