"""Servers elect one of them, and take turns, by rows of a table that no reader can touch."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, with a row for each thing that one server does at a time; nobody has any yet."""
    leases = op.create_table(
        "leases",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("holder", sa.String(256), nullable=False, comment="a server, and its start; '': nobody"),
        sa.Column("until", sa.BigInteger, nullable=False, comment="by the database's clock"),
        sa.PrimaryKeyConstraint("name", name="pk_leases"),
    )
    op.bulk_insert(
        leases, [{"name": name, "holder": "", "until": 0} for name in ("alerts", "upkeep", "rollups", "usage")]
    )


def downgrade() -> None:
    """Servers of before elect by locks again."""
    op.drop_table("leases")
