"""What servers did by the hour, the fleet by six hours, and indices of faults: boards of a month read those."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_COUNTED = ["samples", "values", "states", "events", "usage", "body_bytes", "commits", "failed_commits"]
_TOTALS = [
    "covered", "stored", "duplicate", "refused_credentials", "refused_content", "turned_away", *_COUNTED, "too_late",
    "upkeep", "upkeep_cpu", "cpu",
]  # fmt: skip
_MOST = ("commit_max", "queued_reports", "queued_bytes", "sealing_overdue", "memory")
_MEANS = {"commit_mean": "commits", "waited_mean": "stored + duplicate"}
_HOUR = 3_600_000_000
_SIX_HOURS = 6 * _HOUR
_FAULTS = ("xid", "sxid", "gpu_lost", "driver_unresponsive", "driver_failed", "driver_absent")
# XIDs that are mere ends of programs and the like: of severity `info`.
_MERE = (
    *(8, 11, 13, 14, 25, 31, 32, 37, 38, 39, 40, 41, 43, 44, 45, 60, 63, 66, 67, 68, 69, 70, 71, 72, 75, 76, 77, 80),
    *(82, 83, 84, 85, 86, 88, 89, 93, 96, 97, 98, 99, 100, 101, 102, 103, 104, 105, 106, 107, 108, 121, 126, 127),
    *(128, 129, 130, 131, 132, 133, 134, 135, 137, 139, 141, 152, 153, 154, 160, 161),
)
# What they are counted by, from the index alone.
_COUNTED_BY = ("gpu_id", "node_id", "place_id", "code", "kind")


def upgrade() -> None:
    """Make the tables and the indices: servers' hours of their minutes, while upkeep makes the six hours."""
    _server_hours()
    _six_hours()
    _indices_of_faults()


def _server_hours() -> None:
    op.create_table(
        "server_hours",
        _must("server", sa.String(256)),
        _must("at", sa.BigInteger, "when the hour begins"),
        _must("covered", sa.BigInteger, "ms that its minutes tell of"),
        _must("stored", sa.BigInteger, "reports"),
        _must("duplicate", sa.BigInteger, "reports that were there already"),
        _must("refused_credentials", sa.BigInteger, "answered 401 or 403"),
        _must("refused_content", sa.BigInteger, "answered another 4xx"),
        _must("turned_away", sa.BigInteger, "answered 5xx: to come again later"),
        *(_must(name, sa.BigInteger) for name in _COUNTED),
        sa.Column("commit_mean", sa.Float(53), comment="s; NULL: there was none, as of the next two"),
        sa.Column("commit_max", sa.Float(53)),
        sa.Column("waited_mean", sa.Float(53), comment="s from a report's arrival to the end of its commit"),
        _must("queued_reports", sa.BigInteger, "the most at the end of a minute"),
        _must("queued_bytes", sa.BigInteger),
        sa.Column("sealing_overdue", sa.BigInteger, comment="µs; NULL: another server did the upkeep"),
        _must("too_late", sa.BigInteger, "samples of which only the rollup was kept"),
        _must("upkeep", sa.Float(53), "s at work, pauses included"),
        _must("upkeep_cpu", sa.Float(53), "s of CPU of this process for it"),
        _must("cpu", sa.Float(53), "s of CPU of the whole process"),
        sa.Column("memory", sa.BigInteger, comment="bytes, resident; NULL where the system does not tell"),
        sa.PrimaryKeyConstraint("server", "at", name="pk_server_hours"),
    )
    op.create_index("ix_server_hours_at", "server_hours", ["at"])
    _add_up()


def _six_hours() -> None:
    """The columns of metrics come by themselves, the rows from hours: one of each six is due."""
    op.create_table(
        "fleet_six_hours",
        _must("group_id", sa.BigInteger),
        _must("ts", sa.BigInteger, "end of the six hours"),
        _must("observed", sa.BigInteger, "ms, of all GPUs together"),
        sa.PrimaryKeyConstraint("group_id", "ts", name="pk_fleet_six_hours"),
    )
    op.create_index("ix_fleet_six_hours_ts", "fleet_six_hours", ["ts"])
    if op.get_bind().dialect.name == "postgresql":
        op.create_index("ix_fleet_six_hours_begin", "fleet_six_hours", [sa.text(f"(ts - {_SIX_HOURS})")])
    full = sa.text(f"ts % {_SIX_HOURS} = 0")
    op.create_index("ix_fleet_states_six_hours", "fleet_states", ["ts"], postgresql_where=full, sqlite_where=full)
    op.execute(
        f"INSERT INTO due (kind, node_id, at) SELECT DISTINCT 'hour', 0, (ts - 1) / {_SIX_HOURS} * {_SIX_HOURS} "
        "FROM fleet_hours WHERE true ON CONFLICT DO NOTHING"
    )


def _indices_of_faults() -> None:
    """Of all, and of those that are no mere ends of programs."""
    fault = f"(code IS NOT NULL OR kind IN ({', '.join(map(repr, _FAULTS))}))"
    grave = f"{fault} AND (code IN ({', '.join(map(str, _MERE))}) AND kind = 'xid') IS NOT TRUE"
    _index("ix_events_faults", fault, *_COUNTED_BY)
    _index("ix_events_grave", grave, *_COUNTED_BY[:3])


def _index(name: str, where: str, *included: str) -> None:
    of = sa.text(where)
    op.create_index(name, "events", ["ts"], postgresql_include=included, postgresql_where=of, sqlite_where=of)


def _must(name: str, kind: Any, comment: str | None = None) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False, autoincrement=False, comment=comment)


def _add_up() -> None:
    values = {name: f'sum("{name}")' for name in _TOTALS} | {name: f"max({name})" for name in _MOST}
    for name, of in _MEANS.items():
        known = f"sum(CASE WHEN {name} IS NOT NULL THEN {of} END)"
        values[name] = f"sum({name} * ({of})) / nullif(CAST({known} AS double precision), 0)"
    names = ", ".join(f'"{name}"' for name in values)
    op.execute(
        f"INSERT INTO server_hours (server, at, {names}) "
        f"SELECT server, at / {_HOUR} * {_HOUR} AS hour, {', '.join(values.values())} "
        "FROM server_minutes GROUP BY 1, 2"
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_events_faults", "events")
    op.drop_index("ix_events_grave", "events")
    op.drop_index("ix_fleet_states_six_hours", "fleet_states")
    for table in ("fleet_six_hours", "server_hours"):
        op.drop_table(table)
