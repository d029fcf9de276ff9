"""Alerts, silences, what is delivered; what is in force of metrics sent on change, a row a node."""

import struct
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
# The metrics sent on change in version 0.1.0 by their width; those of later versions come by themselves.
_STATES = {
    4: "power_limit",
    2: "pcie_link_generation pcie_link_width nvlink_links_up remap_pending remap_failed retirement_pending",
    8: "pcie_replays nvlink_crc_flit_errors nvlink_crc_data_errors nvlink_replay_errors nvlink_recovery_errors "
    "nvlink_ecc_errors ecc_sram_corrected_volatile ecc_sram_uncorrected_volatile ecc_dram_corrected_volatile "
    "ecc_dram_uncorrected_volatile ecc_sram_corrected ecc_sram_uncorrected ecc_dram_corrected ecc_dram_uncorrected "
    "remapped_rows_correctable remapped_rows_uncorrectable retired_pages_single_bit retired_pages_double_bit",
}
_WIDTHS = {name: width for width, names in _STATES.items() for name in names.split()}
_NOT_OBSERVED = 5


def _must(name: str, kind: Any, comment: str | None = None, default: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, comment=comment, server_default=default)


def upgrade() -> None:
    """Make the tables, and fill in what is in force."""
    _alerts()
    _log()
    _silences()
    _runs()
    _deliveries()
    op.create_table(
        "latest_states",
        sa.Column("node_id", sa.BigInteger, nullable=False, autoincrement=False),
        *(sa.Column(name, sa.LargeBinary) for name in _WIDTHS),
        sa.PrimaryKeyConstraint("node_id", name="pk_latest_states"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE latest_states SET (fillfactor = 70, toast_tuple_target = 8160)")
    _fill()


def _alerts() -> None:
    op.create_table(
        "alerts",
        _must("alert_id", _KEY),
        _must("rule", sa.String(64)),
        _must("subject", sa.String(512), "scope, key columns and key, such as gpu:17:79"),
        _must("scope", sa.String(16)),
        _must("severity", sa.String(16)),
        _must("state", sa.String(16), "pending, firing or resolved"),
        sa.Column("node_id", sa.BigInteger),
        sa.Column("gpu_id", sa.BigInteger),
        sa.Column("site", sa.String(256)),
        sa.Column("rack", sa.String(256)),
        _must("labels", sa.JSON, "which alert it is, to everyone and for all of its life"),
        sa.Column("value", sa.Float(53)),
        _must("text", sa.String(1024)),
        _must("since", sa.BigInteger, "since when it holds"),
        _must("last_true", sa.BigInteger, "when it last was known to hold"),
        sa.Column("fired_at", sa.BigInteger),
        sa.Column("resolved_at", sa.BigInteger),
        sa.Column("held_by", sa.String(64), comment="why nobody is told: alert 12, silence 3, maintenance 4"),
        sa.Column("told_at", sa.BigInteger, comment="since when others are to be told of it; NULL: never were"),
        sa.Column("acknowledged_at", sa.BigInteger),
        sa.Column("acknowledged_by", sa.String(256)),
        sa.Column("acknowledged_why", sa.String(1024)),
        _must("version", sa.BigInteger, "grows with every change: who writes compares it"),
        sa.PrimaryKeyConstraint("alert_id", name="pk_alerts"),
    )
    is_open = sa.text("state <> 'resolved'")
    columns = ["rule", "subject"]
    op.create_index("uq_alerts_open", "alerts", columns, unique=True, postgresql_where=is_open, sqlite_where=is_open)
    op.create_index("ix_alerts_subject", "alerts", ["rule", "subject", "resolved_at"])
    op.create_index("ix_alerts_state_severity", "alerts", ["state", "severity"])
    op.create_index("ix_alerts_node_id_since", "alerts", ["node_id", "since"])
    op.create_index("ix_alerts_gpu_id_since", "alerts", ["gpu_id", "since"])
    op.create_index("ix_alerts_fired_at", "alerts", ["fired_at"])
    op.create_index("ix_alerts_resolved_at", "alerts", ["resolved_at"])


def _log() -> None:
    op.create_table(
        "alert_log",
        _must("log_id", _KEY),
        _must("alert_id", sa.BigInteger),
        _must("at", sa.BigInteger),
        _must("change", sa.String(32), "fired, resolved, held, released, acknowledged, refused, …"),
        _must("by", sa.String(256), "who; nobody where it came about by itself"),
        _must("text", sa.String(1024)),
        sa.PrimaryKeyConstraint("log_id", name="pk_alert_log"),
    )
    op.create_index("ix_alert_log_alert_id_at", "alert_log", ["alert_id", "at"])
    op.create_index("ix_alert_log_at", "alert_log", ["at"])


def _silences() -> None:
    op.create_table(
        "silences",
        _must("silence_id", _KEY),
        _must("kind", sa.String(16), "silence or maintenance"),
        _must("matchers", sa.JSON, "label → what it has to be; * stands for anything"),
        _must("starts_at", sa.BigInteger),
        _must("ends_at", sa.BigInteger),
        _must("by", sa.String(256)),
        _must("why", sa.String(1024)),
        _must("created_at", sa.BigInteger),
        sa.Column("ended_by", sa.String(256), comment="who ended it before its time"),
        sa.PrimaryKeyConstraint("silence_id", name="pk_silences"),
    )
    op.create_index("ix_silences_ends_at", "silences", ["ends_at"])


def _runs() -> None:
    op.create_table(
        "rule_runs",
        _must("rule", sa.String(64)),
        _must("ran_at", sa.BigInteger),
        sa.Column("succeeded_at", sa.BigInteger),
        _must("failures", sa.Integer, "in a row"),
        _must("error", sa.String(1024)),
        _must("seconds", sa.Float(53)),
        _must("found", sa.Integer, "subjects for which it held"),
        _must("held_back", sa.Integer, "of these, by the circuit breaker"),
        sa.Column("held_since", sa.BigInteger, comment="since when it holds some back"),
        _must("fleet", sa.Integer, "how many subjects there are"),
        _must("wait", sa.Integer, "s that it must hold before it fires"),
        sa.PrimaryKeyConstraint("rule", name="pk_rule_runs"),
    )
    op.create_table(
        "servers",
        _must("server", sa.String(256)),
        _must("started_at", sa.BigInteger),
        _must("seen_at", sa.BigInteger),
        _must("facts", sa.JSON),
        sa.PrimaryKeyConstraint("server", name="pk_servers"),
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        _must("delivery_id", _KEY),
        _must("alert_id", sa.BigInteger),
        _must("receiver", sa.String(64), "its name in the file of receivers"),
        _must("change", sa.String(16), "firing or resolved"),
        _must("state", sa.String(16), "waiting, delivered or dead"),
        _must("message", sa.JSON, "the alert as it was then"),
        _must("created_at", sa.BigInteger),
        _must("give_up_at", sa.BigInteger, "until when it is tried"),
        _must("attempts", sa.Integer),
        _must("next_at", sa.BigInteger, "not to be tried before; a lease moves it ahead"),
        sa.Column("lease", sa.String(36), comment="of whom that tries it now"),
        sa.Column("finished_at", sa.BigInteger, comment="when it was delivered, or given up"),
        _must("error", sa.String(1024), "why the last try failed"),
        sa.PrimaryKeyConstraint("delivery_id", name="pk_deliveries"),
        sa.UniqueConstraint("alert_id", "receiver", "change", name="uq_deliveries_alert_id_receiver_change"),
    )
    waiting = sa.text("state = 'waiting'")
    op.create_index("ix_deliveries_waiting", "deliveries", ["receiver", "next_at"], postgresql_where=waiting)
    op.create_index("ix_deliveries_state_finished_at", "deliveries", ["state", "finished_at"])


def _fill() -> None:
    """From `states`, the newest row of each GPU's each metric."""
    connection = op.get_bind()
    table = sa.Table("latest_states", sa.MetaData(), autoload_with=connection)
    nodes = list(connection.execute(_SLOTS))
    for begin in range(0, len(nodes), _AT_ONCE):
        part = nodes[begin : begin + _AT_ONCE]
        between = {"first": part[0].node_id, "last": part[-1].node_id}
        by_node: dict[int, _Told] = {}
        for node_id, slot, metric, ts, value, reason in connection.execute(_NEWEST, between):
            if metric in _WIDTHS:
                absent = -(1 << (8 * _WIDTHS[metric] - 1)) + (_NOT_OBSERVED if reason is None else reason)
                held = by_node.setdefault(node_id, {}).setdefault(metric, {})
                held[slot] = (absent if value is None else value, ts)
        rows = [
            {"node_id": node} | {name: _packed(name, by_node[node].get(name, {}), slots) for name in _WIDTHS}
            for node, slots in part
            if node in by_node
        ]
        if rows:
            connection.execute(table.insert(), rows)


# Of each metric, of each slot: the stored integer, and since when.
_Told = dict[str, dict[int, tuple[int, int]]]
_AT_ONCE = 200
_SLOTS = sa.text("SELECT node_id, max(slot) + 1 AS slots FROM gpus GROUP BY node_id ORDER BY node_id")
_NEWEST = sa.text(
    "SELECT gpus.node_id, gpus.slot, states.metric, states.ts, states.value, states.reason FROM gpus "
    "JOIN (SELECT gpu_id, metric, max(ts) AS ts FROM states WHERE gpu_id IN "
    "(SELECT gpu_id FROM gpus WHERE node_id BETWEEN :first AND :last) GROUP BY gpu_id, metric) AS newest "
    "ON newest.gpu_id = gpus.gpu_id "
    "JOIN states ON states.gpu_id = newest.gpu_id AND states.metric = newest.metric AND states.ts = newest.ts "
    "WHERE gpus.node_id BETWEEN :first AND :last"
)


def _packed(metric: str, held: dict[int, tuple[int, int]], slots: int) -> bytes:
    never = (-(1 << (8 * _WIDTHS[metric] - 1)) + _NOT_OBSERVED, 0)
    return b"".join(struct.pack("<qq", *held.get(slot, never)) for slot in range(slots))


def downgrade() -> None:
    """There is none: alerts are kept for ever."""
    raise NotImplementedError("a store can't be taken back to the version before alerts; restore a backup")
