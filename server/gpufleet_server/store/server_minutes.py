"""What each server did, a row a minute: kept on both engines, as long as the fleet's minutes are."""

from sqlalchemy import BigInteger, Boolean, Column, Float, Index, Integer, String, Table

from gpufleet_server.store.schema import metadata

# Counts of that minute, by what `ingest.statistics` calls them.
COUNTED = ("samples", "values", "states", "events", "usage", "body_bytes", "commits", "failed_commits")

server_minutes = Table(
    "server_minutes",
    metadata,
    Column("server", String(256), primary_key=True),
    Column("at", BigInteger, primary_key=True, autoincrement=False, comment="when the minute begins"),
    Column("covered", Integer, nullable=False, comment="ms since the last row, or since the server began"),
    Column("stored", BigInteger, nullable=False, comment="reports"),
    Column("duplicate", BigInteger, nullable=False, comment="reports that were there already"),
    Column("refused_credentials", BigInteger, nullable=False, comment="answered 401 or 403"),
    Column("refused_content", BigInteger, nullable=False, comment="answered another 4xx"),
    Column("turned_away", BigInteger, nullable=False, comment="answered 5xx: to come again later"),
    *(Column(name, BigInteger, nullable=False) for name in COUNTED),
    Column("commit_mean", Float(53), comment="s; NULL: there was none, as of the next two"),
    Column("commit_max", Float(53)),
    Column("waited_mean", Float(53), comment="s from a report's arrival to the end of its commit"),
    Column("queued_reports", BigInteger, nullable=False, comment="at the end of the minute"),
    Column("queued_bytes", BigInteger, nullable=False),
    Column("elected", Boolean, nullable=False, comment="whether it did the upkeep at the end of the minute"),
    Column("sealing_overdue", BigInteger, comment="µs; NULL: another server does the upkeep"),
    Column("too_late", BigInteger, nullable=False, comment="samples of which only the rollup was kept"),
    Column("upkeep", Float(53), nullable=False, comment="s at work, pauses included"),
    Column("upkeep_cpu", Float(53), nullable=False, comment="s of CPU of this process for it"),
    Column("cpu", Float(53), nullable=False, comment="s of CPU of the whole process"),
    Column("memory", BigInteger, comment="bytes, resident; NULL where the system does not tell"),
    Index(None, "at"),
)
