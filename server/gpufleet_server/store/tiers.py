"""The tables that hold metrics over time: blocks of a node's GPUs, and groups of the fleet. See docs/adr/0007."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gpufleet_agent.catalogue import EVERY_SAMPLE, Metric, Rollup
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    text,
)

from gpufleet_server.store.schema import BY_NODE, Key, metadata

MINUTE = 60_000_000
TEN_MINUTES = 10 * MINUTE
HOUR = 60 * MINUTE
SIX_HOURS = 6 * HOUR
DAY = 24 * HOUR


def begin_of(ts: int, length: int) -> int:
    """When the interval (k·length, (k+1)·length] begins in which a sample that ended at `ts` lies, µs."""
    return (ts - 1) // length * length


def _packed(metrics: Iterable[Metric]) -> list[Column[Any]]:
    return [Column(metric.name, LargeBinary()) for metric in metrics]


recent = Table(
    "recent",
    metadata,
    Column("node_id", BigInteger, nullable=False),
    Column("first", BigInteger, nullable=False, comment="end of its first sample"),
    Column("last", BigInteger, nullable=False, comment="end of its last sample"),
    Column("slots", LargeBinary, nullable=False, comment="int16 a GPU"),
    Column("times", LargeBinary, nullable=False, comment="int64 a time, corrected"),
    Column("durations", LargeBinary, nullable=False, comment="int32 a time, ms"),
    *_packed(EVERY_SAMPLE),
    Index(None, "node_id", "first"),
    info=BY_NODE,
    postgresql_partition_by="RANGE (first)",
)


@dataclass(frozen=True, slots=True)
class Tier:
    """A table of planes: a row holds `span` µs of one node, a point every `step` µs (None: as they were sampled).

    Rollup tiers have a point at the end of each step; its duration is what was observed of it, and they say how long
    a GPU was active, held and of unknown use.
    """

    name: str
    span: int
    step: int | None
    table: Table

    def wide(self, metric: Metric) -> bool:
        """Whether its planes have bases of 8 bytes: a sum over hours outgrows the metric's own width."""
        return metric.width == 8 or (self.step is not None and metric.rollup is Rollup.SUM)


USES = ("active", "held", "unknown")


def _planes(name: str, *extra: str) -> Table:
    return Table(
        name,
        metadata,
        Column("node_id", BigInteger, primary_key=True, autoincrement=False),
        Column("span", BigInteger, primary_key=True, autoincrement=False, comment="when it begins"),
        Column("points", Integer, nullable=False, comment="how many times it holds"),
        Column("slots", LargeBinary, nullable=False, comment="int16 a GPU"),
        Column("times", LargeBinary, nullable=False, comment="planes of one column"),
        Column("durations", LargeBinary, nullable=False, comment="planes, ms; 0: no sample of this GPU"),
        *(Column(each, LargeBinary(), nullable=False) for each in extra),
        *_packed(EVERY_SAMPLE),
        info=BY_NODE,
        postgresql_partition_by="RANGE (span)",
    )


SEALED = Tier("sealed", HOUR, None, _planes("sealed"))
HOURLY = Tier("hourly", DAY, HOUR, _planes("hourly", *USES))
DAILY = Tier("daily", 32 * DAY, DAY, _planes("daily", *USES))
TIERS = (SEALED, HOURLY, DAILY)

# The newest sample of each of a node's GPUs, by slot.
latest = Table(
    "latest",
    metadata,
    Column("node_id", BigInteger, primary_key=True, autoincrement=False),
    Column("ts", LargeBinary, nullable=False, comment="int64 a slot; 0: never sampled"),
    Column("durations", LargeBinary, nullable=False, comment="int32 a slot, ms"),
    *_packed(EVERY_SAMPLE),
    Column("use", LargeBinary, comment="Use, int8 a slot; NULL: unknown"),
    info=BY_NODE,
    # Each row is written anew with every report, within its page as long as there is room.
    postgresql_with={"fillfactor": 50, "toast_tuple_target": 8160},
)

# What the fleet is counted by; '' where a node has no site or a GPU no model. `state` is a Use or a GpuState.
fleet_groups = Table(
    "fleet_groups",
    metadata,
    Column("group_id", Key, primary_key=True),
    Column("site", String(256), nullable=False),
    Column("model", String(256), nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("state", String(16), nullable=False),
    UniqueConstraint("site", "model", "simulated", "state"),
)


def group_columns(metric: Metric) -> list[Column[Any]]:
    """A mean's sum of value × ms and its ms; a sum and the ms it is over; an extreme; the flags that were set."""
    if metric.rollup in (Rollup.MEAN, Rollup.SUM):
        return [Column(metric.name, Float(53)), Column(f"{metric.name}_ms", BigInteger)]
    return [Column(metric.name, BigInteger)]


def _fleet(name: str, length: int, comment: str) -> Table:
    return Table(
        name,
        metadata,
        Column("group_id", BigInteger, primary_key=True, autoincrement=False),
        Column("ts", BigInteger, primary_key=True, autoincrement=False, comment=comment),
        Column("observed", BigInteger, nullable=False, comment="ms, of all GPUs together"),
        *(column for metric in EVERY_SAMPLE for column in group_columns(metric)),
        Index(None, "ts"),
        # Who asks through views asks for beginnings.
        Index(f"ix_{name}_begin", text(f"(ts - {length})")).ddl_if("postgresql"),
    )


fleet_minutes = _fleet("fleet_minutes", MINUTE, "end of the minute")
fleet_ten_minutes = _fleet("fleet_ten_minutes", TEN_MINUTES, "end of the ten minutes")
fleet_hours = _fleet("fleet_hours", HOUR, "end of the hour")
fleet_six_hours = _fleet("fleet_six_hours", SIX_HOURS, "end of the six hours")


def _full(name: str, length: int) -> Index:
    full = text(f"ts % {length} = 0")
    return Index(f"ix_fleet_states_{name}", "ts", postgresql_where=full, sqlite_where=full)


fleet_states = Table(
    "fleet_states",
    metadata,
    Column("group_id", BigInteger, primary_key=True, autoincrement=False),
    Column("ts", BigInteger, primary_key=True, autoincrement=False, comment="when they were counted"),
    Column("gpus", Integer, nullable=False),
    Index(None, "ts"),
    # For long times each tenth count is enough, or each sixtieth, or one of six hours.
    _full("ten_minutes", TEN_MINUTES),
    _full("six_hours", SIX_HOURS),
    _full("hours", HOUR),
)

# Windows whose rollup is to be made again: kind `hour` (of the fleet, node_id 0) or `day` (of a node).
due = Table(
    "due",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("node_id", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, primary_key=True, autoincrement=False, comment="when the window begins"),
)
