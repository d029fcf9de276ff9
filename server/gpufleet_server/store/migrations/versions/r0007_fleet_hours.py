"""Usage of the fleet by the hour, its worst workloads, and what servers do by the minute."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def _must(name: str, kind: Any, comment: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, comment=comment)


def upgrade() -> None:
    """Make the tables; hours of before come with `gpufleet db rebuild`."""
    _widen_days()
    _hours()
    _waste("usage_waste_hours", "hour")
    _waste("usage_waste_days", "day")
    _servers()


def _widen_days() -> None:
    """KiB × ms of a day outgrow 64 bits where one owner has more than about a thousand GPUs."""
    with op.batch_alter_table("usage_fleet") as table:
        table.alter_column(
            "memory_sum", type_=sa.Float(53), existing_type=sa.BigInteger, existing_nullable=False, comment="KiB × ms"
        )


def _hours() -> None:
    op.create_table(
        "usage_fleet_hours",
        _must("hour", sa.BigInteger, "when it begins"),
        _must("owner_id", sa.BigInteger),
        _must("site", sa.String(256)),
        _must("model", sa.String(256)),
        _must("simulated", sa.Boolean),
        _must("observed", sa.BigInteger, "ms in samples"),
        _must("active", sa.BigInteger, "ms of the GPU's time in which it ran something"),
        _must("held", sa.BigInteger, "ms in which it only kept others away"),
        _must("memory_sum", sa.BigInteger, "MiB × s"),
        _must("memory_ms", sa.BigInteger),
        _must("activity_sum", sa.BigInteger, "basis points × ms"),
        _must("activity_ms", sa.BigInteger),
        _must("memory_most", sa.BigInteger, "bytes, -1: not known"),
        sa.PrimaryKeyConstraint("hour", "owner_id", "site", "model", "simulated", name="pk_usage_fleet_hours"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE usage_fleet_hours SET (fillfactor = 70)")


def _waste(name: str, length: str) -> None:
    op.create_table(
        name,
        _must("at", sa.BigInteger, f"when the {length} begins"),
        _must("holder_id", sa.BigInteger),
        _must("site", sa.String(256)),
        _must("model", sa.String(256)),
        _must("simulated", sa.Boolean),
        _must("owner_id", sa.BigInteger),
        _must("name", sa.String(600), "the workload in a few words"),
        _must("gpus", sa.Integer),
        _must("nodes", sa.Integer),
        _must("observed", sa.BigInteger, "ms in samples"),
        _must("active", sa.BigInteger, "ms of the GPU's time in which it ran something"),
        _must("held", sa.BigInteger, "ms in which it only kept others away"),
        sa.PrimaryKeyConstraint("at", "holder_id", "site", "model", "simulated", name=f"pk_{name}"),
    )


def _servers() -> None:
    counted = "samples values states events usage body_bytes commits failed_commits"
    op.create_table(
        "server_minutes",
        _must("server", sa.String(256)),
        _must("at", sa.BigInteger, "when the minute begins"),
        _must("covered", sa.Integer, "ms since the last row, or since the server began"),
        _must("stored", sa.BigInteger, "reports"),
        _must("duplicate", sa.BigInteger, "reports that were there already"),
        _must("refused_credentials", sa.BigInteger, "answered 401 or 403"),
        _must("refused_content", sa.BigInteger, "answered another 4xx"),
        _must("turned_away", sa.BigInteger, "answered 5xx: to come again later"),
        *(_must(name, sa.BigInteger) for name in counted.split()),
        sa.Column("commit_mean", sa.Float(53), comment="s; NULL: there was none, as of the next two"),
        sa.Column("commit_max", sa.Float(53)),
        sa.Column("waited_mean", sa.Float(53), comment="s from a report's arrival to the end of its commit"),
        _must("queued_reports", sa.BigInteger, "at the end of the minute"),
        _must("queued_bytes", sa.BigInteger),
        _must("elected", sa.Boolean, "whether it did the upkeep at the end of the minute"),
        sa.Column("sealing_overdue", sa.BigInteger, comment="µs; NULL: another server does the upkeep"),
        _must("too_late", sa.BigInteger, "samples of which only the rollup was kept"),
        _must("upkeep", sa.Float(53), "s at work, pauses included"),
        _must("upkeep_cpu", sa.Float(53), "s of CPU of this process for it"),
        _must("cpu", sa.Float(53), "s of CPU of the whole process"),
        sa.Column("memory", sa.BigInteger, comment="bytes, resident; NULL where the system does not tell"),
        sa.PrimaryKeyConstraint("server", "at", name="pk_server_minutes"),
    )
    op.create_index("ix_server_minutes_at", "server_minutes", ["at"])


def downgrade() -> None:
    """Drop them."""
    for table in ("server_minutes", "usage_waste_days", "usage_waste_hours", "usage_fleet_hours"):
        op.drop_table(table)
