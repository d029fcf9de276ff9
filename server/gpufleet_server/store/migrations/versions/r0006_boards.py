"""What dashboards ask of the whole fleet: versions as columns, the fleet by ten minutes, indices by time."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_MINUTE = 60_000_000
_HOUR = 60 * _MINUTE
_SOFTWARE = ("driver_version", "cuda_version", "kernel", "os")
_VERSIONS = ("vbios_version", "inforom_image_version", "gsp_firmware_version", "board_part_number")
_OF_HEALTH = (
    "ecc_sram_corrected ecc_sram_uncorrected ecc_dram_corrected ecc_dram_uncorrected remapped_rows_correctable "
    "remapped_rows_uncorrectable remap_pending remap_failed remap_banks_no_spares retired_pages_single_bit "
    "retired_pages_double_bit retirement_pending sram_threshold_exceeded recovery_action pcie_replays "
    "nvlink_links_down fabric_trouble nvlink_crc_flit_errors nvlink_crc_data_errors nvlink_replay_errors "
    "nvlink_recovery_errors nvlink_ecc_errors nvlink_receive_errors nvlink_effective_errors nvlink_failed_recoveries"
)


def upgrade() -> None:
    """Add columns and fill them from what came; make the table, which upkeep fills; add the indices."""
    _from_json("nodes", "facts", _SOFTWARE)
    _from_json("gpus", "identity", _VERSIONS)
    op.create_index(
        "ix_gpus_versions", "gpus", ["node_id"], postgresql_include=("model", "lost", "removed_at", *_VERSIONS)
    )
    _ten_minutes()
    _indices()


def _from_json(table: str, column: str, names: tuple[str, ...]) -> None:
    for name in names:
        op.add_column(table, sa.Column(name, sa.String(256)))
    there = (
        "{column} ->> '{name}'" if op.get_bind().dialect.name == "postgresql" else "json_extract({column}, '$.{name}')"
    )
    sets = ", ".join(f"{name} = {there.format(column=column, name=name)}" for name in names)
    op.execute(f"UPDATE {table} SET {sets}")


def _ten_minutes() -> None:
    """The columns of metrics come by themselves, the rows from minutes: each hour of them is due."""
    op.create_table(
        "fleet_ten_minutes",
        sa.Column("group_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("ts", sa.BigInteger, nullable=False, autoincrement=False, comment="end of the ten minutes"),
        sa.Column("observed", sa.BigInteger, nullable=False, comment="ms, of all GPUs together"),
        sa.PrimaryKeyConstraint("group_id", "ts", name="pk_fleet_ten_minutes"),
    )
    op.create_index("ix_fleet_ten_minutes_ts", "fleet_ten_minutes", ["ts"])
    op.execute(
        f"INSERT INTO due (kind, node_id, at) SELECT DISTINCT 'hour', 0, (ts - 1) / {_HOUR} * {_HOUR} "
        "FROM fleet_minutes WHERE true ON CONFLICT DO NOTHING"
    )


def _indices() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for name, length in (("minutes", _MINUTE), ("ten_minutes", 10 * _MINUTE), ("hours", _HOUR)):
            op.create_index(f"ix_fleet_{name}_begin", f"fleet_{name}", [sa.text(f"(ts - {length})")])
    for name, length in (("ten_minutes", 10 * _MINUTE), ("hours", _HOUR)):
        _partial(f"ix_fleet_states_{name}", "fleet_states", ["ts"], f"ts % {length} = 0")
    names = ", ".join(f"'{name}'" for name in _OF_HEALTH.split())
    _partial("ix_states_of_health", "states", ["metric", "ts"], f"value > 0 AND metric IN ({names})")


def _partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, postgresql_where=sa.text(where), sqlite_where=sa.text(where))


def downgrade() -> None:
    """There is none: what was filled in is in no older version's way, but it is not taken out again either."""
    raise NotImplementedError("a store can't be taken back to the version before dashboards; restore a backup")
