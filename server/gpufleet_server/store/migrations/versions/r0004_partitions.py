"""Partitions belong to a node, as GPUs do, and have slots in its blocks."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table anew: its key is another one. There are few rows."""
    connection = op.get_bind()
    before = sa.Table("partitions", sa.MetaData(), autoload_with=connection)
    rows = connection.execute(sa.select(before).order_by(before.c.gpu_id, before.c.uuid)).mappings().all()
    op.drop_table("partitions")
    after = op.create_table(
        "partitions",
        sa.Column("node_id", sa.BigInteger, nullable=False, autoincrement=False),
        sa.Column("uuid", sa.String(128), nullable=False),
        sa.Column("slot", sa.SmallInteger, nullable=False, comment="its number in blocks of its node, no GPU's there"),
        sa.Column("gpu_id", sa.BigInteger, comment="NULL: no roster has told of it yet"),
        sa.Column("profile", sa.String(256)),
        sa.Column("facts", sa.JSON, nullable=False, comment="wire.Partition as it came"),
        sa.Column("first_seen", sa.BigInteger, nullable=False),
        sa.Column("removed_at", sa.BigInteger, comment="when a roster no longer held it"),
        sa.PrimaryKeyConstraint("node_id", "uuid", name="pk_partitions"),
        sa.UniqueConstraint("node_id", "slot", name="uq_partitions_node_id_slot"),
    )
    for name in ("uuid", "gpu_id"):
        op.create_index(f"ix_partitions_{name}", "partitions", [name])
    moved = _placed(connection, rows)
    if moved:
        connection.execute(after.insert(), moved)


def _placed(connection: sa.Connection, rows: Any) -> list[dict[str, Any]]:
    """The rows with their nodes, and with slots behind those of the node's GPUs."""
    gpus = connection.execute(sa.text("SELECT gpu_id, node_id, slot FROM gpus")).all()
    node_of = {gpu_id: node_id for gpu_id, node_id, _ in gpus}
    taken: dict[int, int] = {}
    for _, node_id, slot in gpus:
        taken[node_id] = max(slot, taken.get(node_id, -1))
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for row in rows:
        key = node_of.get(row["gpu_id"], 0), row["uuid"]
        if key[0] and key not in found:
            taken[key[0]] += 1
            found[key] = dict(row) | {"node_id": key[0], "slot": taken[key[0]]}
    return list(found.values())


def downgrade() -> None:
    """There is none: what is stored in the slots of partitions would be nobody's."""
    raise NotImplementedError("a store can't be taken back to before partitions had slots; restore a backup")
