"""Usage of the fleet by the day and hour names its places by number: boards add up hundreds of thousands of rows."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_KEY = sa.BigInteger().with_variant(sa.Integer, "sqlite")
_TABLES = ("usage_fleet", "usage_fleet_hours")


def _must(name: str, kind: Any, comment: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, comment=comment)


def upgrade() -> None:
    """Make the tables anew, with what they hold. Views of them are made anew after this."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    op.create_table(
        "usage_places",
        _must("place_id", _KEY),
        _must("site", sa.String(256)),
        _must("model", sa.String(256)),
        _must("simulated", sa.Boolean),
        sa.PrimaryKeyConstraint("place_id", name="pk_usage_places"),
        sa.UniqueConstraint("site", "model", "simulated", name="uq_usage_places_site_model_simulated"),
    )
    for table in _TABLES:
        op.execute(f"CREATE TEMPORARY TABLE before_{table} AS SELECT * FROM {table}")
        op.execute(f"DROP TABLE {table}{' CASCADE' if postgresql else ''}")
        op.execute(
            f"INSERT INTO usage_places (site, model, simulated) SELECT DISTINCT site, model, simulated "
            f"FROM before_{table} WHERE true ON CONFLICT DO NOTHING"
        )
    _days()
    _hours()
    if postgresql:
        op.execute("ALTER TABLE usage_fleet_hours SET (fillfactor = 70)")
    for table in _TABLES:
        names = [column["name"] for column in sa.inspect(op.get_bind()).get_columns(table)]
        listed = ", ".join(f'"{name}"' for name in names)
        op.execute(
            f"INSERT INTO {table} ({listed}) SELECT {listed} FROM before_{table} "
            "JOIN usage_places USING (site, model, simulated)"
        )
        op.execute(f"DROP TABLE before_{table}")


def _days() -> None:
    op.create_table(
        "usage_fleet",
        _must("day", sa.BigInteger, "when it begins"),
        _must("owner_id", sa.BigInteger),
        _must("place_id", sa.Integer),
        *_sums(sa.Float(53), "KiB × ms"),
        _must("first", sa.BigInteger),
        _must("last", sa.BigInteger),
        sa.PrimaryKeyConstraint("day", "owner_id", "place_id", name="pk_usage_fleet"),
    )


def _hours() -> None:
    op.create_table(
        "usage_fleet_hours",
        _must("hour", sa.BigInteger, "when it begins"),
        _must("owner_id", sa.BigInteger),
        _must("place_id", sa.Integer),
        *_sums(sa.BigInteger(), "MiB × s"),
        sa.PrimaryKeyConstraint("hour", "owner_id", "place_id", name="pk_usage_fleet_hours"),
    )


def _sums(of_memory: Any, memory: str) -> list[sa.Column[Any]]:
    return [
        _must("observed", sa.BigInteger, "ms in samples"),
        _must("active", sa.BigInteger, "ms of the GPU's time in which it ran something"),
        _must("held", sa.BigInteger, "ms in which it only kept others away"),
        _must("memory_sum", of_memory, memory),
        _must("memory_ms", sa.BigInteger),
        _must("activity_sum", sa.BigInteger, "basis points × ms"),
        _must("activity_ms", sa.BigInteger),
        _must("memory_most", sa.BigInteger, "bytes, -1: not known"),
    ]


def downgrade() -> None:
    """There is none."""
    raise NotImplementedError("a store can't be taken back to before usage had places; restore a backup")
