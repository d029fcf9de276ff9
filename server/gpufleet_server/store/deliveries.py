"""The outbox: what Apprise and webhooks have to be told, until they were. Its table is made by migration 0005."""

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, String, Table, UniqueConstraint, text

from gpufleet_server.store.schema import Key, metadata

deliveries = Table(
    "deliveries",
    metadata,
    Column("delivery_id", Key, primary_key=True),
    Column("alert_id", BigInteger, nullable=False),
    Column("receiver", String(64), nullable=False, comment="its name in the file of receivers"),
    Column("change", String(16), nullable=False, comment="firing or resolved"),
    Column("state", String(16), nullable=False, comment="waiting, delivered or dead"),
    Column("message", JSON, nullable=False, comment="the alert as it was then"),
    Column("created_at", BigInteger, nullable=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("next_at", BigInteger, nullable=False, comment="not to be tried before; a lease moves it ahead"),
    Column("lease", String(36), comment="of whom that tries it now"),
    Column("finished_at", BigInteger, comment="when it was delivered, or given up"),
    Column("error", String(1024), nullable=False, default="", comment="why the last try failed"),
    # Each receiver is told once of each change, however many servers look.
    UniqueConstraint("alert_id", "receiver", "change"),
    Index("ix_deliveries_waiting", "receiver", "next_at", postgresql_where=text("state = 'waiting'")),
    Index(None, "state", "finished_at"),
)
