"""The tables. Times are µs since the epoch, UTC; metric values are the catalogue's stored integers."""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    MetaData,
    SmallInteger,
    String,
    Table,
    UniqueConstraint,
    func,
    text,
)

from gpufleet_server.domain.alerting import Severity
from gpufleet_server.domain.xids import Action, catalogue

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite only counts by itself in an INTEGER primary key.
Key = BigInteger().with_variant(Integer, "sqlite")

# Beyond one machine (Citus) these are spread by that column, which is in each of their keys; the others are small.
BY_NODE = {"distributed_by": "node_id"}
BY_GPU = {"distributed_by": "gpu_id"}

nodes = Table(
    "nodes",
    metadata,
    Column("node_id", Key, primary_key=True),
    Column("uuid", String(36), nullable=False, unique=True),
    Column("hostname", String(256), nullable=False, index=True),
    Column("site", String(256), index=True),
    Column("room", String(256)),
    Column("rack", String(256)),
    Column("simulated", Boolean, nullable=False, default=False),
    Column("agent_version", String(256)),
    Column("driver_version", String(256)),
    Column("cuda_version", String(256)),
    Column("kernel", String(256)),
    Column("os", String(256)),
    Column("interval_ms", Integer, nullable=False),
    Column("driver_state", String(16), nullable=False),
    Column("driver_since", BigInteger, nullable=False),
    Column("driver_detail", String(256), nullable=False, default=""),
    Column("clock_offset", BigInteger, nullable=False, default=0, comment="server minus agent, as applied, µs"),
    Column("clock_measured", BigInteger, nullable=False, default=0, comment="the same, as last measured, µs"),
    Column("backlog_reports", Integer, nullable=False, default=0),
    Column("backlog_bytes", BigInteger, nullable=False, default=0),
    Column("backlog_dropped", BigInteger, nullable=False, default=0),
    Column("roster_digest", String(256), nullable=False, default=""),
    Column("facts", JSON, nullable=False, comment="wire.Host as it came"),
    Column("first_seen", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False, comment="server time of the last report taken"),
    Column("version", BigInteger, nullable=False, default=0, comment="grows with every commit: who writes compares it"),
    # The order of listings; queries/paging.py makes the same expressions of columns that may be NULL.
    Index("ix_nodes_place", text("((site IS NULL)::integer)"), text("coalesce(site, '')"), "hostname").ddl_if(
        "postgresql"
    ),
    # Most columns change with every report; the facts, which don't, lie elsewhere.
    postgresql_with={"fillfactor": 50, "toast_tuple_target": 256},
)

streams = Table(
    "streams",
    metadata,
    Column("node_id", BigInteger, primary_key=True, autoincrement=False),
    Column("stream", String(36), primary_key=True),
    Column("last_seq", BigInteger, nullable=False),
    Column("last_seen", BigInteger, nullable=False),
    info=BY_NODE,
    postgresql_with={"fillfactor": 70},
)

_NARROW = ("gpu_id", "slot", "model", "memory_total", "lost", "removed_at", "position")
_UNWELL = text("lost OR removed_at IS NOT NULL")
# What the whole fleet is counted by in its inventory.
_VERSIONS = ("vbios_version", "inforom_image_version", "gsp_firmware_version", "board_part_number")

# A row is a GPU in a node: a node can speak only for its own, and a GPU that moves begins a new row.
gpus = Table(
    "gpus",
    metadata,
    Column("gpu_id", Key, primary_key=True),
    Column("node_id", BigInteger, nullable=False),
    Column("slot", SmallInteger, nullable=False, comment="its number in blocks of its node, for ever"),
    Column("uuid", String(128), nullable=False, index=True),
    Column("vendor", String(256)),
    Column("model", String(256), index=True),
    Column("serial", String(256), index=True),
    Column("position", Integer, comment="the driver's index"),
    Column("pci_address", String(256)),
    Column("memory_total", BigInteger),
    Column("vbios_version", String(256)),
    Column("inforom_image_version", String(256)),
    Column("gsp_firmware_version", String(256)),
    Column("board_part_number", String(256)),
    Column("lost", Boolean, nullable=False, default=False),
    Column("identity", JSON, nullable=False, comment="wire.Gpu as it came"),
    Column("first_seen", BigInteger, nullable=False),
    Column("removed_at", BigInteger, comment="when a roster no longer held it"),
    UniqueConstraint("node_id", "uuid"),
    UniqueConstraint("node_id", "slot"),
    # What the whole fleet is counted and sorted by, without its identities; and the few that are not as they should be.
    Index("ix_gpus_narrow", "node_id", postgresql_include=_NARROW),
    Index("ix_gpus_unwell", "gpu_id", postgresql_where=_UNWELL),
    Index("ix_gpus_versions", "node_id", postgresql_include=("model", "lost", "removed_at", *_VERSIONS)),
)
for _name in ("uuid", "serial"):
    # What is searched for by its beginning, in any case. SQLite's LIKE has no use for it.
    _lower = func.lower(gpus.c[_name]).label("lower")
    Index(f"ix_gpus_{_name}_begins", _lower, postgresql_ops={"lower": "text_pattern_ops"}).ddl_if("postgresql")

# What is counted as GPUs is a row of `gpus`: a partition is none, and its slot is in none of `latest`.
partitions = Table(
    "partitions",
    metadata,
    Column("node_id", BigInteger, primary_key=True, autoincrement=False),
    Column("uuid", String(128), primary_key=True, index=True),
    Column("slot", SmallInteger, nullable=False, comment="its number in blocks of its node, no GPU's there"),
    Column("gpu_id", BigInteger, index=True, comment="NULL: no roster has told of it yet"),
    Column("profile", String(256)),
    Column("facts", JSON, nullable=False, comment="wire.Partition as it came"),
    Column("first_seen", BigInteger, nullable=False),
    Column("removed_at", BigInteger, comment="when a roster no longer held it"),
    UniqueConstraint("node_id", "slot"),
    info=BY_NODE,
)

# Metrics of health that seldom change and begin with 0: the few other values are found by time in the whole fleet.
OF_HEALTH = (
    *("ecc_sram_corrected", "ecc_sram_uncorrected", "ecc_dram_corrected", "ecc_dram_uncorrected"),
    *("remapped_rows_correctable", "remapped_rows_uncorrectable", "remap_pending", "remap_failed"),
    *("remap_banks_no_spares", "retired_pages_single_bit", "retired_pages_double_bit", "retirement_pending"),
    *("sram_threshold_exceeded", "recovery_action", "pcie_replays", "nvlink_links_down", "fabric_trouble"),
    *("nvlink_crc_flit_errors", "nvlink_crc_data_errors", "nvlink_replay_errors", "nvlink_recovery_errors"),
    *("nvlink_ecc_errors", "nvlink_receive_errors", "nvlink_effective_errors", "nvlink_failed_recoveries"),
)
_SELDOM = text("value > 0 AND metric IN ({})".format(", ".join(f"'{name}'" for name in OF_HEALTH)))

# For metrics sent on change: each value from ts on. For metrics of every sample: only why they are absent from ts
# on (value NULL, reason set), and that they are present again (both NULL).
states = Table(
    "states",
    metadata,
    Column("gpu_id", BigInteger, primary_key=True, autoincrement=False),
    Column("metric", String(64), primary_key=True),
    Column("ts", BigInteger, primary_key=True, autoincrement=False),
    Column("value", BigInteger),
    Column("reason", SmallInteger, comment="catalogue Reason"),
    Index("ix_states_of_health", "metric", "ts", postgresql_where=_SELDOM, sqlite_where=_SELDOM),
    sqlite_with_rowid=False,
    info=BY_GPU,
)

# Kinds of events that are faults; those with a code are XIDs and SXIDs, and to compare texts of very many takes longer.
_FAULTS = ("xid", "sxid", "gpu_lost", "driver_unresponsive", "driver_failed", "driver_absent")
IS_FAULT = f"(code IS NOT NULL OR kind IN ({', '.join(map(repr, _FAULTS))}))"
# Those of severity `info` are mere ends of programs and the like: whoever changes which they are makes the index anew,
# by a revision, or statements can't use it.
_MERE = catalogue().codes(*Action, severity=Severity.INFO)
IS_GRAVE = f"(code IN ({', '.join(map(str, _MERE))}) AND kind = 'xid') IS NOT TRUE"


def _of_faults(name: str, where: str, *included: str) -> Index:
    return Index(name, "ts", postgresql_include=included, postgresql_where=text(where), sqlite_where=text(where))


events = Table(
    "events",
    metadata,
    Column("event_id", Key, primary_key=True),
    Column("node_id", BigInteger, nullable=False),
    Column("gpu_id", BigInteger),
    Column("partition", String(128)),
    Column("ts", BigInteger, nullable=False),
    Column("kind", String(128), nullable=False),
    Column("code", Integer),
    Column("source", String(256), nullable=False),
    Column("message", String(2048), nullable=False, default=""),
    Column("detail", JSON, nullable=False),
    Column("received_at", BigInteger, nullable=False),
    Column("place_id", Integer, comment="usage_places: its node's site, its GPU's model, as of then"),
    # Boards count them, from this alone where there are more than of the range.
    Index(None, "ts", postgresql_include=["kind", "code", "gpu_id", "node_id", "place_id"]),
    _of_faults("ix_events_faults", IS_FAULT, "gpu_id", "node_id", "place_id", "code", "kind"),
    _of_faults("ix_events_grave", f"{IS_FAULT} AND {IS_GRAVE}", "gpu_id", "node_id", "place_id"),
    Index(None, "node_id", "ts"),
    Index(None, "gpu_id", "ts"),
    Index(None, "kind", "ts"),
    Index(None, "code", "ts"),
    # For that, those of the newest days must be known to be visible.
    postgresql_with={"autovacuum_vacuum_insert_scale_factor": 0, "autovacuum_vacuum_insert_threshold": 2000},
)

tokens = Table(
    "tokens",
    metadata,
    Column("token_id", Key, primary_key=True),
    Column("kind", String(16), nullable=False, comment="join, node, reader or admin"),
    Column("name", String(256), nullable=False),
    Column("hash", String(64), nullable=False, unique=True, comment="SHA-256 of the token, hex"),
    Column("node", String(36), index=True, comment="the node a credential speaks for"),
    Column("created_at", BigInteger, nullable=False),
    Column("expires_at", BigInteger),
    Column("revoked_at", BigInteger),
    Column("last_used_at", BigInteger),
)
