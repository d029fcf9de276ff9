"""The first tables."""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite only counts by itself in an INTEGER primary key.
_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")

# The metrics of every sample in version 0.1.0, by width. Those of later versions get their column from `migrate`.
_SAMPLES = (
    (sa.SmallInteger, "gpu_utilization memory_copy_utilization encoder_utilization decoder_utilization"),
    (sa.SmallInteger, "jpeg_utilization ofa_utilization sm_active sm_occupancy tensor_active"),
    (sa.SmallInteger, "fp64_active fp32_active fp16_active dram_active"),
    (sa.Integer, "fb_used fb_free fb_reserved bar1_used power energy"),
    (sa.SmallInteger, "gpu_temperature memory_temperature temperature_margin fan_speed"),
    (sa.SmallInteger, "sm_clock memory_clock graphics_clock video_clock performance_state"),
    (sa.Integer, "clock_event_reasons"),
    (sa.SmallInteger, "compute_processes"),
    (sa.Integer, "pcie_tx_bytes pcie_rx_bytes"),
    (sa.BigInteger, "nvlink_tx_bytes nvlink_rx_bytes"),
)


def _must(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


def _may(name: str, kind: Any) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=True)


def _indices(table: str, *indices: Sequence[str]) -> None:
    for columns in indices:
        op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))


def upgrade() -> None:
    """Make them all."""
    _nodes()
    _gpus()
    _series()
    _events()
    _tokens()


def _nodes() -> None:
    op.create_table(
        "nodes",
        _must("node_id", _KEY),
        _must("uuid", sa.String(36)),
        _must("hostname", sa.String(256)),
        _may("site", sa.String(256)),
        _may("room", sa.String(256)),
        _may("rack", sa.String(256)),
        _must("simulated", sa.Boolean),
        _may("agent_version", sa.String(256)),
        _must("interval_ms", sa.Integer),
        _must("driver_state", sa.String(16)),
        _must("driver_since", sa.BigInteger),
        _must("driver_detail", sa.String(256)),
        sa.Column("clock_offset", sa.BigInteger, nullable=False, comment="server minus agent, as applied, µs"),
        sa.Column("clock_measured", sa.BigInteger, nullable=False, comment="the same, as last measured, µs"),
        _must("backlog_reports", sa.Integer),
        _must("backlog_bytes", sa.BigInteger),
        _must("backlog_dropped", sa.BigInteger),
        _must("roster_digest", sa.String(256)),
        sa.Column("facts", sa.JSON, nullable=False, comment="wire.Host as it came"),
        _must("first_seen", sa.BigInteger),
        sa.Column("last_seen", sa.BigInteger, nullable=False, comment="server time of the last report taken"),
        sa.PrimaryKeyConstraint("node_id", name="pk_nodes"),
        sa.UniqueConstraint("uuid", name="uq_nodes_uuid"),
    )
    _indices("nodes", ["hostname"], ["site"])
    op.create_table(
        "streams",
        _must("node_id", sa.BigInteger),
        _must("stream", sa.String(36)),
        _must("last_seq", sa.BigInteger),
        _must("last_seen", sa.BigInteger),
        sa.PrimaryKeyConstraint("node_id", "stream", name="pk_streams"),
    )


def _gpus() -> None:
    op.create_table(
        "gpus",
        _must("gpu_id", _KEY),
        _must("node_id", sa.BigInteger),
        _must("uuid", sa.String(128)),
        _may("vendor", sa.String(256)),
        _may("model", sa.String(256)),
        _may("serial", sa.String(256)),
        sa.Column("position", sa.Integer, comment="the driver's index"),
        _may("pci_address", sa.String(256)),
        _may("memory_total", sa.BigInteger),
        _must("lost", sa.Boolean),
        sa.Column("identity", sa.JSON, nullable=False, comment="wire.Gpu as it came"),
        _must("first_seen", sa.BigInteger),
        sa.Column("removed_at", sa.BigInteger, comment="when a roster no longer held it"),
        sa.Column("last_sample", sa.BigInteger, comment="ts of its newest row in samples"),
        sa.PrimaryKeyConstraint("gpu_id", name="pk_gpus"),
        sa.UniqueConstraint("node_id", "uuid", name="uq_gpus_node_id_uuid"),
    )
    _indices("gpus", ["uuid"], ["model"], ["serial"])
    op.create_table(
        "partitions",
        _must("gpu_id", sa.BigInteger),
        _must("uuid", sa.String(128)),
        _may("profile", sa.String(256)),
        sa.Column("facts", sa.JSON, nullable=False, comment="wire.Partition as it came"),
        _must("first_seen", sa.BigInteger),
        _may("removed_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("gpu_id", "uuid", name="pk_partitions"),
    )


def _series() -> None:
    op.create_table(
        "samples",
        _must("gpu_id", sa.BigInteger),
        sa.Column("ts", sa.BigInteger, nullable=False, comment="end of the interval"),
        sa.Column("duration", sa.Integer, nullable=False, comment="length of the interval, ms"),
        *(_may(name, kind) for kind, names in _SAMPLES for name in names.split()),
        sa.PrimaryKeyConstraint("gpu_id", "ts", name="pk_samples"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "states",
        _must("gpu_id", sa.BigInteger),
        _must("metric", sa.String(64)),
        _must("ts", sa.BigInteger),
        _may("value", sa.BigInteger),
        sa.Column("reason", sa.SmallInteger, comment="catalogue Reason"),
        sa.PrimaryKeyConstraint("gpu_id", "metric", "ts", name="pk_states"),
        sqlite_with_rowid=False,
    )


def _events() -> None:
    op.create_table(
        "events",
        _must("event_id", _KEY),
        _must("node_id", sa.BigInteger),
        _may("gpu_id", sa.BigInteger),
        _may("partition", sa.String(128)),
        _must("ts", sa.BigInteger),
        _must("kind", sa.String(128)),
        _may("code", sa.Integer),
        _must("source", sa.String(256)),
        _must("message", sa.String(2048)),
        _must("detail", sa.JSON),
        _must("received_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("event_id", name="pk_events"),
    )
    _indices("events", ["ts"], ["node_id", "ts"], ["gpu_id", "ts"], ["kind", "ts"], ["code", "ts"])


def _tokens() -> None:
    op.create_table(
        "tokens",
        _must("token_id", _KEY),
        sa.Column("kind", sa.String(16), nullable=False, comment="join, node, reader or admin"),
        _must("name", sa.String(256)),
        sa.Column("hash", sa.String(64), nullable=False, comment="SHA-256 of the token, hex"),
        sa.Column("node", sa.String(36), comment="the node a credential speaks for"),
        _must("created_at", sa.BigInteger),
        _may("expires_at", sa.BigInteger),
        _may("revoked_at", sa.BigInteger),
        _may("last_used_at", sa.BigInteger),
        sa.PrimaryKeyConstraint("token_id", name="pk_tokens"),
        sa.UniqueConstraint("hash", name="uq_tokens_hash"),
    )
    _indices("tokens", ["node"])


def downgrade() -> None:
    """Drop them all."""
    for table in ("tokens", "events", "states", "samples", "partitions", "gpus", "streams", "nodes"):
        op.drop_table(table)
