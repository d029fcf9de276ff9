"""GPUs counted by versions and power limits, once a minute: boards asked for them of 100,000 GPUs with each look."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_VERSIONS = ("driver", "cuda", "vbios", "part_number", "inforom", "firmware")


def upgrade() -> None:
    """Make the table, with no row: upkeep counts as soon as a server runs."""
    op.create_table(
        "gpu_counts",
        sa.Column(
            "number", sa.BigInteger, nullable=False, autoincrement=False, comment="of the row, among those of now"
        ),
        sa.Column("at", sa.BigInteger, nullable=False, comment="when all were counted"),
        sa.Column("what", sa.String(32), nullable=False, comment="what it is a count by"),
        sa.Column("site", sa.String(256), nullable=False),
        sa.Column("model", sa.String(256), nullable=False),
        sa.Column("simulated", sa.Boolean, nullable=False),
        *(sa.Column(name, sa.String(256), comment="'': not told; NULL: no count by it") for name in _VERSIONS),
        sa.Column("power_limit", sa.BigInteger),
        sa.Column("gpus", sa.Integer, nullable=False),
        sa.Column("nodes", sa.Integer, nullable=False, comment="that have such GPUs"),
        sa.PrimaryKeyConstraint("number", name="pk_gpu_counts"),
    )


def downgrade() -> None:
    """Views that read it are taken down before revisions run."""
    op.drop_table("gpu_counts")
