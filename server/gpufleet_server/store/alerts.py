"""The tables of alerts. Times are µs since the epoch. They are small, and stay on one machine."""

from sqlalchemy import JSON, BigInteger, Column, Float, Index, Integer, String, Table, text

from gpufleet_server.store.schema import Key, metadata

OPEN = "state <> 'resolved'"

# One row for each time that a rule's condition began to hold for a subject; those that never fired leave none.
alerts = Table(
    "alerts",
    metadata,
    Column("alert_id", Key, primary_key=True),
    Column("rule", String(64), nullable=False),
    Column("subject", String(512), nullable=False, comment="scope, key columns and key, such as gpu:17:79"),
    Column("scope", String(16), nullable=False),
    Column("severity", String(16), nullable=False),
    Column("state", String(16), nullable=False, comment="pending, firing or resolved"),
    Column("node_id", BigInteger),
    Column("gpu_id", BigInteger),
    Column("site", String(256)),
    Column("rack", String(256)),
    Column("labels", JSON, nullable=False, comment="which alert it is, to everyone and for all of its life"),
    Column("value", Float(53)),
    Column("text", String(1024), nullable=False),
    Column("since", BigInteger, nullable=False, comment="since when it holds"),
    Column("last_true", BigInteger, nullable=False, comment="when it last was known to hold"),
    Column("fired_at", BigInteger),
    Column("resolved_at", BigInteger),
    Column("held_by", String(64), comment="why nobody is told: alert 12, silence 3, maintenance 4"),
    Column("told_at", BigInteger, comment="since when others are to be told of it; NULL: never were"),
    Column("acknowledged_at", BigInteger),
    Column("acknowledged_by", String(256)),
    Column("acknowledged_why", String(1024)),
    Column("version", BigInteger, nullable=False, comment="grows with every change: who writes compares it"),
    # A subject has one open alert of a rule, whoever evaluates.
    Index("uq_alerts_open", "rule", "subject", unique=True, postgresql_where=text(OPEN), sqlite_where=text(OPEN)),
    Index("ix_alerts_subject", "rule", "subject", "resolved_at"),
    Index(None, "state", "severity"),
    Index(None, "node_id", "since"),
    Index(None, "gpu_id", "since"),
    Index(None, "fired_at"),
    Index(None, "resolved_at"),
)

# A row a change of an alert, for ever.
alert_log = Table(
    "alert_log",
    metadata,
    Column("log_id", Key, primary_key=True),
    Column("alert_id", BigInteger, nullable=False),
    Column("at", BigInteger, nullable=False),
    Column("change", String(32), nullable=False, comment="fired, resolved, held, released, acknowledged, refused, …"),
    Column("by", String(256), nullable=False, default="", comment="who; nobody where it came about by itself"),
    Column("text", String(1024), nullable=False, default=""),
    Index(None, "alert_id", "at"),
    Index(None, "at"),
)

silences = Table(
    "silences",
    metadata,
    Column("silence_id", Key, primary_key=True),
    Column("kind", String(16), nullable=False, comment="silence or maintenance"),
    Column("matchers", JSON, nullable=False, comment="label → what it has to be; * stands for anything"),
    Column("starts_at", BigInteger, nullable=False),
    Column("ends_at", BigInteger, nullable=False),
    Column("by", String(256), nullable=False),
    Column("why", String(1024), nullable=False),
    Column("created_at", BigInteger, nullable=False),
    Column("ended_by", String(256), comment="who ended it before its time"),
    Index(None, "ends_at"),
)

# How the evaluation of each rule went last.
rule_runs = Table(
    "rule_runs",
    metadata,
    Column("rule", String(64), primary_key=True),
    Column("ran_at", BigInteger, nullable=False),
    Column("succeeded_at", BigInteger),
    Column("failures", Integer, nullable=False, comment="in a row"),
    Column("error", String(1024), nullable=False, default=""),
    Column("seconds", Float(53), nullable=False),
    Column("found", Integer, nullable=False, comment="subjects for which it held"),
    Column("held_back", Integer, nullable=False, default=0, comment="of these, by the circuit breaker"),
    Column("held_since", BigInteger, comment="since when it holds some back"),
    Column("fleet", Integer, nullable=False, default=0, comment="how many subjects there are"),
    Column("wait", Integer, nullable=False, default=0, comment="s that it must hold before it fires"),
)

# Each server about itself, for rules over servers: figures by name.
servers = Table(
    "servers",
    metadata,
    Column("server", String(256), primary_key=True),
    Column("started_at", BigInteger, nullable=False),
    Column("seen_at", BigInteger, nullable=False),
    Column("facts", JSON, nullable=False),
)
