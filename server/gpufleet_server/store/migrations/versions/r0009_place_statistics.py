"""PostgreSQL is told how places look to boards: with estimates of one it would look hours up place by place."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# As the views have them: store/grafana/fields.py.
_SHOWN = "(coalesce(nullif({}, ''), '(none)'))"


def upgrade() -> None:
    """Statistics of expressions are PostgreSQL's alone."""
    if op.get_bind().dialect.name == "postgresql":
        shown = ", ".join(_SHOWN.format(name) for name in ("site", "model"))
        op.execute(f"CREATE STATISTICS usage_places_shown ON {shown} FROM usage_places")
        op.execute("ANALYZE usage_places")


def downgrade() -> None:
    """There is none."""
    raise NotImplementedError("a store can't be taken back to before usage had places; restore a backup")
