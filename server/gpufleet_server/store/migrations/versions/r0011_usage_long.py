"""Usage by kind of owner, of six hours and of weeks; events are counted from an index: boards of 100,000 GPUs ask."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_TIMES = {
    "observed": "ms in samples",
    "active": "ms of the GPU's time in which it ran something",
    "held": "ms in which it only kept others away",
}
_ACTIVITY = {"activity_sum": "basis points × ms", "activity_ms": None}
_KINDS = {"usage_kind_days": ("usage_fleet", "day"), "usage_kind_hours": ("usage_fleet_hours", "hour")}
_LONG = {"usage_six_hours": "six hours", "usage_weeks": "seven days"}
# What events are counted by, from the index alone.
_COUNTED = ("kind", "code", "gpu_id", "node_id", "place_id")


def upgrade() -> None:
    """Make the tables; of six hours and weeks upkeep makes the rows, while all goes on."""
    for name, (source, at) in _KINDS.items():
        op.create_table(
            name,
            _begin(at, "when it begins"),
            sa.Column("kind", sa.String(16), nullable=False, comment="of the owners"),
            sa.Column("place_id", sa.Integer, nullable=False, autoincrement=False),
            *_sums(_TIMES),
            sa.PrimaryKeyConstraint(at, "kind", "place_id", name=f"pk_{name}"),
        )
        sums = ", ".join(f"CAST(sum({each}) AS bigint)" for each in _TIMES)
        op.execute(
            f"INSERT INTO {name} ({at}, kind, place_id, {', '.join(_TIMES)}) "
            f"SELECT {at}, coalesce(kind, 'unknown') AS of_kind, place_id, {sums} "
            f"FROM {source} LEFT JOIN owners ON owners.owner_id = {source}.owner_id GROUP BY 1, 2, 3"
        )
    for name, length in _LONG.items():
        op.create_table(
            name,
            _begin("at", f"when the {length} begin"),
            sa.Column("owner_id", sa.BigInteger, nullable=False, autoincrement=False),
            sa.Column("place_id", sa.Integer, nullable=False, autoincrement=False),
            *_sums(_TIMES | _ACTIVITY),
            sa.PrimaryKeyConstraint("at", "owner_id", "place_id", name=f"pk_{name}"),
        )
    # Each event is written anew: that is not to be done for an index that goes.
    op.drop_index("ix_events_ts", "events")
    _place_events()
    op.create_index("ix_events_ts", "events", ["ts"], postgresql_include=_COUNTED)
    if op.get_bind().dialect.name == "postgresql":
        # What is counted from an index alone must be known to be visible, so far that of the newest days, too.
        op.execute(
            "ALTER TABLE events SET (autovacuum_vacuum_insert_scale_factor = 0, "
            "autovacuum_vacuum_insert_threshold = 2000)"
        )


def _begin(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger, nullable=False, autoincrement=False, comment=comment)


def _sums(comments: dict[str, str] | dict[str, str | None]) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False, comment=comment) for name, comment in comments.items()]


def _place_events() -> None:
    """Say of events that are there where they were, as far as is known now."""
    with op.batch_alter_table("events") as events:
        comment = "usage_places: its node's site, its GPU's model, as of then"
        events.add_column(sa.Column("place_id", sa.Integer, comment=comment))
    there = (
        "SELECT e.event_id, coalesce(n.site, '') AS site, coalesce(g.model, '') AS model, n.simulated "
        "FROM events AS e JOIN nodes AS n ON n.node_id = e.node_id LEFT JOIN gpus AS g ON g.gpu_id = e.gpu_id"
    )
    op.execute(
        "INSERT INTO usage_places (site, model, simulated) "
        f"SELECT DISTINCT site, model, simulated FROM ({there}) AS there WHERE true ON CONFLICT DO NOTHING"
    )
    op.execute(
        f"UPDATE events SET place_id = p.place_id FROM ({there}) AS there JOIN usage_places AS p "
        "ON p.site = there.site AND p.model = there.model AND p.simulated = there.simulated "
        "WHERE there.event_id = events.event_id"
    )


def downgrade() -> None:
    """Views that read these tables are taken down before revisions run."""
    for name in (*_KINDS, *_LONG):
        op.drop_table(name)
    op.drop_index("ix_events_ts", "events")
    op.create_index("ix_events_ts", "events", ["ts"])
    with op.batch_alter_table("events") as events:
        events.drop_column("place_id")
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "ALTER TABLE events RESET (autovacuum_vacuum_insert_scale_factor, autovacuum_vacuum_insert_threshold)"
        )
