"""Who used the GPUs: holders, usage intervals, and how much each day."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_NAMES = (
    "job sluid step pod pod_uid container container_name runtime unit command user account slurm_partition namespace"
)


def _must(name: str, kind: Any, comment: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, comment=comment)


def upgrade() -> None:
    """Make the tables; there is nothing yet to move into them."""
    _holders()
    _pieces()
    _intervals()


def _holders() -> None:
    owner = ("user", "account", "slurm_partition", "namespace")
    op.create_table(
        "owners",
        _must("owner_id", _KEY),
        _must("kind", sa.String(16)),
        *(_must(name, sa.String(256)) for name in owner),
        sa.PrimaryKeyConstraint("owner_id", name="pk_owners"),
        sa.UniqueConstraint("kind", *owner, name="uq_owners_kind_user_account_slurm_partition_namespace"),
    )
    cluster = "of Slurm jobs: the node's label slurm_cluster, else its site, else its id"
    op.create_table(
        "holders",
        _must("holder_id", _KEY),
        _must("digest", sa.String(64), "SHA-256 of what tells it from others, hex"),
        _must("owner_id", sa.BigInteger),
        _must("kind", sa.String(16)),
        sa.Column("cluster", sa.String(256), comment=cluster),
        sa.Column("uid", sa.BigInteger),
        *(sa.Column(name, sa.String(256)) for name in _NAMES.split()),
        _must("absent", sa.JSON, "why a field is NULL, by field"),
        _must("first_seen", sa.BigInteger),
        _must("last_seen", sa.BigInteger, "to an hour"),
        sa.PrimaryKeyConstraint("holder_id", name="pk_holders"),
        sa.UniqueConstraint("digest", name="uq_holders_digest"),
    )
    for name in ("job", "pod", "last_seen"):
        op.create_index(f"ix_holders_{name}", "holders", [name])


def _pieces() -> None:
    op.create_table(
        "usage_recent",
        _must("node_id", sa.BigInteger),
        _must("received_at", sa.BigInteger),
        _must("pieces", sa.LargeBinary, "store/usage.py: RECORD"),
        sa.Column("partitions", sa.String, comment="UUIDs that they refer to, a line each"),
    )
    op.create_index("ix_usage_recent_node_id", "usage_recent", ["node_id"])
    op.create_table(
        "latest_usage",
        sa.Column("node_id", sa.BigInteger, nullable=False, autoincrement=False),
        _must("at", sa.BigInteger, "when that report was made"),
        _must("pieces", sa.LargeBinary),
        sa.Column("partitions", sa.String),
        sa.PrimaryKeyConstraint("node_id", name="pk_latest_usage"),
    )
    if op.get_bind().dialect.name == "postgresql":
        often = "autovacuum_vacuum_scale_factor = 0.1, autovacuum_vacuum_threshold = 5000"
        op.execute(f"ALTER TABLE usage_recent SET ({often})")
        op.execute("ALTER TABLE latest_usage SET (fillfactor = 50)")


def _sums() -> list[sa.Column[Any]]:
    return [
        _must("observed", sa.BigInteger, "ms in samples"),
        _must("active", sa.BigInteger, "ms of the GPU's time in which it ran something"),
        _must("held", sa.BigInteger, "ms in which it only kept others away"),
        _must("memory_sum", sa.BigInteger, "KiB × ms"),
        _must("memory_ms", sa.BigInteger),
        _must("activity_sum", sa.BigInteger, "basis points × ms"),
        _must("activity_ms", sa.BigInteger),
        _must("memory_most", sa.BigInteger, "bytes, -1: not known"),
    ]


def _intervals() -> None:
    key = ("node_id", "begin", "slot", "holder_id", "partition")
    op.create_table(
        "usage",
        _must("node_id", sa.BigInteger),
        _must("begin", sa.BigInteger),
        _must("slot", sa.SmallInteger),
        _must("holder_id", sa.BigInteger),
        _must("partition", sa.String(128), "'' for the whole GPU"),
        _must("end", sa.BigInteger),
        _must("owner_id", sa.BigInteger, "its holder's"),
        *_sums(),
        _must("processes", sa.Integer),
        sa.PrimaryKeyConstraint(*key, name="pk_usage"),
        postgresql_partition_by="RANGE (begin)",
    )
    op.create_index("ix_usage_holder_id", "usage", ["holder_id"])
    op.create_table(
        "usage_daily",
        _must("node_id", sa.BigInteger),
        _must("day", sa.BigInteger, "when it begins"),
        _must("owner_id", sa.BigInteger),
        _must("model", sa.String(256), "'' where it is not known"),
        _must("bank", sa.SmallInteger),
        _must("slots", sa.BigInteger),
        *_sums(),
        _must("first", sa.BigInteger),
        _must("last", sa.BigInteger),
        sa.PrimaryKeyConstraint("node_id", "day", "owner_id", "model", "bank", name="pk_usage_daily"),
        postgresql_partition_by="RANGE (day)",
    )
    op.create_table(
        "usage_fleet",
        _must("day", sa.BigInteger, "when it begins"),
        _must("owner_id", sa.BigInteger),
        _must("site", sa.String(256)),
        _must("model", sa.String(256)),
        _must("simulated", sa.Boolean),
        *_sums(),
        _must("first", sa.BigInteger),
        _must("last", sa.BigInteger),
        sa.PrimaryKeyConstraint("day", "owner_id", "site", "model", "simulated", name="pk_usage_fleet"),
    )


def downgrade() -> None:
    """Drop them."""
    for table in ("usage_fleet", "usage_daily", "usage", "latest_usage", "usage_recent", "holders", "owners"):
        op.drop_table(table)
