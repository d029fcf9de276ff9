"""The tables of who used the GPUs: holders, usage intervals, and how much each day. See docs/adr/0008."""

import struct
from typing import Any

import numpy as np
from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
)
from sqlalchemy.types import TypeEngine

from gpufleet_server.store.schema import BY_NODE, Key, metadata

# What a holder is known by; those of an owner are the same for all jobs or pods of a user, account or namespace.
OWNER = ("kind", "user", "account", "slurm_partition", "namespace")
NAMES = (
    *("job", "sluid", "step", "pod", "pod_uid", "container", "container_name", "runtime", "unit", "command"),
    *("user", "account", "slurm_partition", "namespace"),
)

# Kinds of `due`: a day of a node that is to be added up of its intervals, and one of the fleet, of its nodes.
USAGE_DUE, FLEET_DUE = "usage", "usage_fleet"
# More than a node has slots: a node and a slot in one number.
SLOTS = 1 << 16

# Small, and not spread: '' where there is none. `user` is a number where no name is known.
owners = Table(
    "owners",
    metadata,
    Column("owner_id", Key, primary_key=True),
    Column("kind", String(16), nullable=False),
    *(Column(name, String(256), nullable=False) for name in OWNER[1:]),
    UniqueConstraint(*OWNER),
)

# A workload: a Slurm step on however many nodes, a pod, a container, a unit. Not spread: many nodes have one.
holders = Table(
    "holders",
    metadata,
    Column("holder_id", Key, primary_key=True),
    Column("digest", String(64), nullable=False, unique=True, comment="SHA-256 of what tells it from others, hex"),
    Column("owner_id", BigInteger, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("cluster", String(256), comment="of Slurm jobs: the node's label slurm_cluster, else its site, else its id"),
    Column("uid", BigInteger),
    *(Column(name, String(256)) for name in NAMES),
    Column("absent", JSON, nullable=False, comment="why a field is NULL, by field"),
    Column("first_seen", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False, comment="to an hour"),
    Index(None, "job"),
    Index(None, "pod"),
    Index(None, "last_seen"),
)

# One row a report: its pieces as RECORDs, until upkeep folds them into `usage`.
usage_recent = Table(
    "usage_recent",
    metadata,
    Column("node_id", BigInteger, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("pieces", LargeBinary, nullable=False, comment="store/usage.py: RECORD"),
    Column("partitions", String, comment="UUIDs that they refer to, a line each"),
    Index(None, "node_id"),
    info=BY_NODE,
    postgresql_with={"autovacuum_vacuum_scale_factor": 0.1, "autovacuum_vacuum_threshold": 5000},
)

# The pieces of each node's newest report that were going on at its end.
latest_usage = Table(
    "latest_usage",
    metadata,
    Column("node_id", BigInteger, primary_key=True, autoincrement=False),
    Column("at", BigInteger, nullable=False, comment="when that report was made"),
    Column("pieces", LargeBinary, nullable=False),
    Column("partitions", String),
    info=BY_NODE,
    postgresql_with={"fillfactor": 50},
)

TIMES, ACTIVITY = ("observed", "active", "held"), ("activity_sum", "activity_ms")
SUMMED = (*TIMES, "memory_sum", "memory_ms", *ACTIVITY)
_COMMENTS = {
    "observed": "ms in samples",
    "active": "ms of the GPU's time in which it ran something",
    "held": "ms in which it only kept others away",
    "activity_sum": "basis points × ms",
}


def _sums(of_memory: TypeEngine[Any] | None = None, memory: str = "KiB × ms") -> list[Column[Any]]:
    comments = _COMMENTS | {"memory_sum": memory}
    kinds = {"memory_sum": of_memory or BigInteger()}
    return [
        *(Column(name, kinds.get(name, BigInteger()), nullable=False, comment=comments.get(name)) for name in SUMMED),
        Column("memory_most", BigInteger, nullable=False, comment="bytes, -1: not known"),
    ]


def _times() -> list[Column[Any]]:
    return [Column(name, BigInteger, nullable=False, comment=_COMMENTS[name]) for name in TIMES]


# An interval: one holder on one GPU, or on a partition of it. Those that cross midnight UTC are cut there.
usage = Table(
    "usage",
    metadata,
    Column("node_id", BigInteger, primary_key=True, autoincrement=False),
    Column("begin", BigInteger, primary_key=True, autoincrement=False),
    Column("slot", SmallInteger, primary_key=True, autoincrement=False),
    Column("holder_id", BigInteger, primary_key=True, autoincrement=False),
    Column("partition", String(128), primary_key=True, comment="'' for the whole GPU"),
    Column("end", BigInteger, nullable=False),
    Column("owner_id", BigInteger, nullable=False, comment="its holder's"),
    *_sums(),
    Column("processes", Integer, nullable=False),
    Index(None, "holder_id"),
    info=BY_NODE,
    postgresql_partition_by="RANGE (begin)",
)

# What each owner had of a node's GPUs of one model on a day (UTC) that is over. `slots`: a bit for each of its GPUs
# whose slot is within `bank` × 63 to `bank` × 63 + 62.
usage_daily = Table(
    "usage_daily",
    metadata,
    Column("node_id", BigInteger, primary_key=True, autoincrement=False),
    Column("day", BigInteger, primary_key=True, autoincrement=False, comment="when it begins"),
    Column("owner_id", BigInteger, primary_key=True, autoincrement=False),
    Column("model", String(256), primary_key=True, comment="'' where it is not known"),
    Column("bank", SmallInteger, primary_key=True, autoincrement=False),
    Column("slots", BigInteger, nullable=False),
    *_sums(),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
    info=BY_NODE,
    postgresql_partition_by="RANGE (day)",
)

# Where the fleet's usage is; '' where a node has no site or a GPU no model.
usage_places = Table(
    "usage_places",
    metadata,
    Column("place_id", Key, primary_key=True),
    Column("site", String(256), nullable=False),
    Column("model", String(256), nullable=False),
    Column("simulated", Boolean, nullable=False),
    UniqueConstraint("site", "model", "simulated"),
)

# The same of the whole fleet: few rows whatever its size, and narrow, for boards add up very many of them.
usage_fleet = Table(
    "usage_fleet",
    metadata,
    Column("day", BigInteger, primary_key=True, autoincrement=False, comment="when it begins"),
    Column("owner_id", BigInteger, primary_key=True, autoincrement=False),
    Column("place_id", Integer, primary_key=True, autoincrement=False),
    *_sums(Float(53)),
    Column("first", BigInteger, nullable=False),
    Column("last", BigInteger, nullable=False),
)

# What each owner had of the fleet in an hour (UTC), added up from pieces as they are folded, cut at the hour.
usage_fleet_hours = Table(
    "usage_fleet_hours",
    metadata,
    Column("hour", BigInteger, primary_key=True, autoincrement=False, comment="when it begins"),
    Column("owner_id", BigInteger, primary_key=True, autoincrement=False),
    Column("place_id", Integer, primary_key=True, autoincrement=False),
    *_sums(memory="MiB × s"),
    # Those of the present hour change with each portion of nodes that is folded.
    postgresql_with={"fillfactor": 70},
)


def _of_kind(name: str, column: str) -> Table:
    return Table(
        name,
        metadata,
        Column(column, BigInteger, primary_key=True, autoincrement=False, comment="when it begins"),
        Column("kind", String(16), primary_key=True, comment="of the owners"),
        Column("place_id", Integer, primary_key=True, autoincrement=False),
        *_times(),
    )


# The same of all owners of a kind together, in the transactions that change those: boards show them over time.
usage_kind_days = _of_kind("usage_kind_days", "day")
usage_kind_hours = _of_kind("usage_kind_hours", "hour")


def _long(name: str, length: str) -> Table:
    return Table(
        name,
        metadata,
        Column("at", BigInteger, primary_key=True, autoincrement=False, comment=f"when the {length} begin"),
        Column("owner_id", BigInteger, primary_key=True, autoincrement=False),
        Column("place_id", Integer, primary_key=True, autoincrement=False),
        *_times(),
        *(Column(each, BigInteger, nullable=False, comment=_COMMENTS.get(each)) for each in ACTIVITY),
    )


# Six hours, and weeks, of owners: all that is in their hours, or days, or no row. See store/usage_long.py.
usage_six_hours = _long("usage_six_hours", "six hours")
usage_weeks = _long("usage_weeks", "seven days")


def _waste(name: str, length: str) -> Table:
    return Table(
        name,
        metadata,
        Column("at", BigInteger, primary_key=True, autoincrement=False, comment=f"when the {length} begins"),
        Column("holder_id", BigInteger, primary_key=True, autoincrement=False),
        Column("site", String(256), primary_key=True),
        Column("model", String(256), primary_key=True),
        Column("simulated", Boolean, primary_key=True),
        Column("owner_id", BigInteger, nullable=False),
        Column("name", String(600), nullable=False, comment="the workload in a few words"),
        Column("gpus", Integer, nullable=False),
        Column("nodes", Integer, nullable=False),
        *_times(),
    )


# The workloads that held most GPU time without running anything, of each hour and day: store/usage_waste.py.
usage_waste_hours = _waste("usage_waste_hours", "hour")
usage_waste_days = _waste("usage_waste_days", "day")

SLOTS_A_BANK = 63

# A piece as it came: µs, ms, bytes, basis points; -1 where a value is not known. `partition` is its place in the
# row's `partitions`, -1 for a whole GPU.
_FIELDS = (
    *(("holder", "q"), ("begin", "q"), ("end", "q"), ("memory", "q"), ("memory_most", "q")),
    *(("observed", "i"), ("active", "i"), ("held", "i"), ("processes", "i")),
    *(("slot", "h"), ("partition", "h"), ("activity", "h")),
)
RECORD = struct.Struct("<" + "".join(kind for _, kind in _FIELDS))
RECORDS = np.dtype([(name, {"q": "<i8", "i": "<i4", "h": "<i2"}[kind]) for name, kind in _FIELDS])
