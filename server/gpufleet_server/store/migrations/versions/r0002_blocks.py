"""Blocks instead of a row a sample; rollups; groups of the fleet. Samples that are there become recent blocks."""

import struct
from collections.abc import Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_HOUR = 3_600_000_000

# The metrics of every sample in version 0.1.0: struct's letter of their width, and how they are rolled up.
_METRICS = (
    ("h", "mean", "gpu_utilization memory_copy_utilization encoder_utilization decoder_utilization"),
    ("h", "mean", "jpeg_utilization ofa_utilization sm_active sm_occupancy tensor_active"),
    ("h", "mean", "fp64_active fp32_active fp16_active dram_active"),
    ("i", "mean", "fb_used fb_free fb_reserved bar1_used power"),
    ("i", "sum", "energy"),
    ("h", "extreme", "gpu_temperature memory_temperature temperature_margin"),
    ("h", "mean", "fan_speed sm_clock memory_clock graphics_clock video_clock"),
    ("h", "extreme", "performance_state"),
    ("i", "extreme", "clock_event_reasons"),
    ("h", "extreme", "compute_processes"),
    ("i", "sum", "pcie_tx_bytes pcie_rx_bytes"),
    ("q", "sum", "nvlink_tx_bytes nvlink_rx_bytes"),
)
_WIDTHS = {name: letter for letter, _, names in _METRICS for name in names.split()}
_ROLLUPS = {name: rollup for _, rollup, names in _METRICS for name in names.split()}
_LOWEST = {"h": -(1 << 15), "i": -(1 << 31), "q": -(1 << 63)}
_NOT_OBSERVED = 5
_REASONS = 6


def _must(name: str, kind: Any, comment: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, comment=comment)


def _packed() -> list[sa.Column[Any]]:
    return [sa.Column(name, sa.LargeBinary) for name in _WIDTHS]


def upgrade() -> None:
    """Make the new tables, move what there is into them, and drop the old one."""
    _recent()
    _planes("sealed")
    _planes("hourly", "active", "held", "unknown")
    _planes("daily", "active", "held", "unknown")
    _latest()
    _fleet()
    _slots()
    _versions()
    _move()
    op.drop_table("samples")
    with op.batch_alter_table("gpus") as gpus:
        gpus.drop_column("last_sample")
    narrow = ["gpu_id", "slot", "model", "memory_total", "lost", "removed_at", "position"]
    op.create_index("ix_gpus_narrow", "gpus", ["node_id"], postgresql_include=narrow)
    unwell = sa.text("lost OR removed_at IS NOT NULL")
    op.create_index("ix_gpus_unwell", "gpus", ["gpu_id"], postgresql_where=unwell)
    if op.get_bind().dialect.name == "postgresql":
        for name in ("uuid", "serial"):
            op.execute(f"CREATE INDEX ix_gpus_{name}_begins ON gpus (lower({name}) text_pattern_ops)")
        op.execute("CREATE INDEX ix_nodes_place ON nodes (((site IS NULL)::integer), coalesce(site, ''), hostname)")


def _recent() -> None:
    op.create_table(
        "recent",
        _must("node_id", sa.BigInteger),
        _must("first", sa.BigInteger, "end of its first sample"),
        _must("last", sa.BigInteger, "end of its last sample"),
        _must("slots", sa.LargeBinary, "int16 a GPU"),
        _must("times", sa.LargeBinary, "int64 a time, corrected"),
        _must("durations", sa.LargeBinary, "int32 a time, ms"),
        *_packed(),
        postgresql_partition_by="RANGE (first)",
    )
    op.create_index("ix_recent_node_id_first", "recent", ["node_id", "first"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute("CREATE TABLE recent_late PARTITION OF recent DEFAULT")


def _planes(name: str, *extra: str) -> None:
    op.create_table(
        name,
        _must("node_id", sa.BigInteger),
        _must("span", sa.BigInteger, "when it begins"),
        _must("points", sa.Integer, "how many times it holds"),
        _must("slots", sa.LargeBinary, "int16 a GPU"),
        _must("times", sa.LargeBinary, "planes of one column"),
        _must("durations", sa.LargeBinary, "planes, ms; 0: no sample of this GPU"),
        *(_must(each, sa.LargeBinary) for each in extra),
        *_packed(),
        sa.PrimaryKeyConstraint("node_id", "span", name=f"pk_{name}"),
        postgresql_partition_by="RANGE (span)",
    )


def _latest() -> None:
    op.create_table(
        "latest",
        sa.Column("node_id", sa.BigInteger, nullable=False, autoincrement=False),
        _must("ts", sa.LargeBinary, "int64 a slot; 0: never sampled"),
        _must("durations", sa.LargeBinary, "int32 a slot, ms"),
        *_packed(),
        sa.Column("use", sa.LargeBinary, comment="Use, int8 a slot; NULL: unknown"),
        sa.PrimaryKeyConstraint("node_id", name="pk_latest"),
    )
    if op.get_bind().dialect.name == "postgresql":
        # Each row is rewritten with every report, within its page as long as there is room.
        op.execute("ALTER TABLE latest SET (fillfactor = 50, toast_tuple_target = 8160)")
        op.execute("ALTER TABLE nodes SET (fillfactor = 50, toast_tuple_target = 256)")
        op.execute("ALTER TABLE streams SET (fillfactor = 70)")


def _fleet() -> None:
    op.create_table(
        "fleet_groups",
        _must("group_id", _KEY),
        _must("site", sa.String(256)),
        _must("model", sa.String(256)),
        _must("simulated", sa.Boolean),
        _must("state", sa.String(16)),
        sa.PrimaryKeyConstraint("group_id", name="pk_fleet_groups"),
        sa.UniqueConstraint("site", "model", "simulated", "state", name="uq_fleet_groups_site_model_simulated_state"),
    )
    for name, comment in (("fleet_minutes", "end of the minute"), ("fleet_hours", "end of the hour")):
        op.create_table(
            name,
            _must("group_id", sa.BigInteger),
            _must("ts", sa.BigInteger, comment),
            _must("observed", sa.BigInteger, "ms, of all GPUs together"),
            *(column for metric in _WIDTHS for column in _group_columns(metric)),
            sa.PrimaryKeyConstraint("group_id", "ts", name=f"pk_{name}"),
        )
        op.create_index(f"ix_{name}_ts", name, ["ts"])
    op.create_table(
        "fleet_states",
        _must("group_id", sa.BigInteger),
        _must("ts", sa.BigInteger, "when they were counted"),
        _must("gpus", sa.Integer),
        sa.PrimaryKeyConstraint("group_id", "ts", name="pk_fleet_states"),
    )
    op.create_index("ix_fleet_states_ts", "fleet_states", ["ts"])
    op.create_table(
        "due",
        _must("kind", sa.String(16)),
        _must("node_id", sa.BigInteger),
        _must("at", sa.BigInteger, "when the window begins"),
        sa.PrimaryKeyConstraint("kind", "node_id", "at", name="pk_due"),
    )


def _group_columns(metric: str) -> list[sa.Column[Any]]:
    if _ROLLUPS[metric] == "extreme":
        return [sa.Column(metric, sa.BigInteger)]
    return [sa.Column(metric, sa.Float(53)), sa.Column(f"{metric}_ms", sa.BigInteger)]


def _slots() -> None:
    # A default only for as long as it takes: SQLite can't add a column without one.
    comment = "its number in blocks of its node, for ever"
    op.add_column("gpus", sa.Column("slot", sa.SmallInteger, nullable=False, server_default="0", comment=comment))
    op.execute(
        "UPDATE gpus SET slot = (SELECT count(*) FROM gpus AS before "
        "WHERE before.node_id = gpus.node_id AND before.gpu_id < gpus.gpu_id)"
    )
    with op.batch_alter_table("gpus") as gpus:
        gpus.alter_column("slot", server_default=None)
        gpus.create_unique_constraint("uq_gpus_node_id_slot", ["node_id", "slot"])


def _versions() -> None:
    comment = "grows with every commit: who writes compares it"
    op.add_column("nodes", sa.Column("version", sa.BigInteger, nullable=False, server_default="0", comment=comment))
    with op.batch_alter_table("nodes") as nodes:
        nodes.alter_column("version", server_default=None)


def _move() -> None:
    """A block for each GPU and hour. What is sealed of them, and rolled up, is upkeep's work, as with a new one."""
    connection = op.get_bind()
    samples = sa.Table("samples", sa.MetaData(), autoload_with=connection)
    recent = sa.Table("recent", sa.MetaData(), autoload_with=connection)
    known = connection.execute(sa.text("SELECT gpu_id, node_id, slot FROM gpus ORDER BY node_id, slot")).all()
    for gpu_id, node_id, slot in known:
        reasons = _reasons(connection, gpu_id)
        ordered = sa.select(samples).where(samples.c.gpu_id == gpu_id).order_by(samples.c.ts)
        rows: list[sa.RowMapping] = []
        for row in connection.execute(ordered).mappings():
            if rows and (row["ts"] - 1) // _HOUR != (rows[0]["ts"] - 1) // _HOUR:
                connection.execute(recent.insert(), _block(node_id, slot, rows, reasons))
                rows = []
            rows.append(row)
        if rows:
            connection.execute(recent.insert(), _block(node_id, slot, rows, reasons))
    _newest(connection, samples)


_Reasons = dict[str, list[tuple[int, int | None]]]


def _reasons(connection: sa.Connection, gpu_id: int) -> _Reasons:
    query = sa.text("SELECT metric, ts, reason FROM states WHERE gpu_id = :gpu ORDER BY metric, ts")
    found: _Reasons = {}
    for metric, ts, reason in connection.execute(query, {"gpu": gpu_id}):
        found.setdefault(metric, []).append((ts, reason))
    return found


def _block(node_id: int, slot: int, rows: Sequence[sa.RowMapping], reasons: _Reasons) -> dict[str, Any]:
    return {
        "node_id": node_id,
        "first": rows[0]["ts"],
        "last": rows[-1]["ts"],
        "slots": struct.pack("<h", slot),
        "times": struct.pack(f"<{len(rows)}q", *(row["ts"] for row in rows)),
        "durations": struct.pack(f"<{len(rows)}i", *(row["duration"] for row in rows)),
        **{name: struct.pack(f"<{len(rows)}{_WIDTHS[name]}", *_stored(name, rows, reasons)) for name in _WIDTHS},
    }


def _stored(name: str, rows: Sequence[sa.RowMapping], reasons: _Reasons) -> Iterator[int]:
    """Each value, or the integer that says why it is absent."""
    past, at, reason = reasons.get(name, []), 0, None
    for row in rows:
        while at < len(past) and past[at][0] <= row["ts"]:
            reason, at = past[at][1], at + 1
        known = reason if reason is not None and reason < _REASONS else _NOT_OBSERVED
        yield row[name] if row[name] is not None else _LOWEST[_WIDTHS[name]] + known


def _newest(connection: sa.Connection, samples: sa.Table) -> None:
    latest = sa.Table("latest", sa.MetaData(), autoload_with=connection)
    query = sa.text("SELECT gpu_id, node_id, slot, last_sample FROM gpus ORDER BY node_id, slot")
    by_node: dict[int, list[Any]] = {}
    for gpu in connection.execute(query):
        by_node.setdefault(gpu.node_id, []).append(gpu)
    for node_id, gpus in by_node.items():
        rows = [_newest_of(connection, samples, gpu) for gpu in gpus]
        if any(row is not None for row in rows):
            connection.execute(latest.insert(), _latest_row(connection, node_id, gpus, rows))


def _newest_of(connection: sa.Connection, samples: sa.Table, gpu: Any) -> sa.RowMapping | None:
    query = sa.select(samples).where(samples.c.gpu_id == gpu.gpu_id, samples.c.ts == gpu.last_sample)
    return connection.execute(query).mappings().one_or_none()


def _latest_row(connection: sa.Connection, node_id: int, gpus: list[Any], rows: list[Any]) -> dict[str, Any]:
    n = len(rows)
    stored: dict[str, list[int]] = {name: [] for name in _WIDTHS}
    for gpu, row in zip(gpus, rows, strict=True):
        reasons = _reasons(connection, gpu.gpu_id) if row is not None else {}
        for name, column in stored.items():
            absent = _LOWEST[_WIDTHS[name]] + _NOT_OBSERVED
            column.append(next(_stored(name, [row], reasons)) if row is not None else absent)
    return {
        "node_id": node_id,
        "ts": struct.pack(f"<{n}q", *(row["ts"] if row is not None else 0 for row in rows)),
        "durations": struct.pack(f"<{n}i", *(row["duration"] if row is not None else 0 for row in rows)),
        **{name: struct.pack(f"<{n}{_WIDTHS[name]}", *column) for name, column in stored.items()},
    }


def downgrade() -> None:
    """There is none: a block does not fit into the table of before."""
    raise NotImplementedError("a store can't be taken back to the version before blocks; restore a backup")
