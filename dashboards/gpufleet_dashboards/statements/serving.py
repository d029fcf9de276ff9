"""gpufleet itself: its servers by the minute, the agents, the rules and the database, in SQL."""

from gpufleet_server.store.grafana.views.nodes import VIEW as NODES
from gpufleet_server.store.grafana.views.rule_runs import VIEW as RULES
from gpufleet_server.store.grafana.views.server_minutes import VIEW as MINUTES
from gpufleet_server.store.grafana.views.servers import VIEW as SERVERS
from gpufleet_server.store.grafana.views.table_sizes import VIEW as SIZES

from gpufleet_dashboards.sql import END, MINUTE_MS, Branch, Tier, chosen
from gpufleet_dashboards.statements.gaps import ended

# A row a minute and server, of which there are few: enough for a month.
_BRANCH = Branch(Tier(MINUTES, MINUTE_MS), 0)
_MINUTE_US = 60_000_000
_CHOSEN = chosen(NODES, "site")
_MOST = 100
COVERED = f"sum({MINUTES['covered']})"


def by_server(values: dict[str, str]) -> str:
    """A series for each server: values over its minutes, by name. Its line ends where it did not run."""
    return ended(_rows(values, f"{MINUTES['server']}, "), ("server",), tuple(values))


def of_all(values: dict[str, str]) -> str:
    """The same of all servers together."""
    return ended(_rows(values), (), tuple(values))


def _rows(values: dict[str, str], label: str = "") -> str:
    listed = ", ".join(f"{value} AS {name}" for name, value in values.items())
    # So PostgreSQL knows how many there are.
    over = f"{MINUTES['at']} <= {END} - {_MINUTE_US}"
    # Grouped by numbers, which costs less than by times.
    return f"""SELECT to_timestamp(slot * {_BRANCH.seconds}) AS time, {label}{", ".join(values)},
  {_BRANCH.seconds} AS step
FROM (
  SELECT {MINUTES["at"]} / {_BRANCH.width_us} AS slot, {label}{listed}
  FROM {MINUTES} WHERE {_BRANCH.here} AND {over} GROUP BY {label}1
) AS slots"""


def rate(column: str) -> str:
    """How many a second, of a count."""
    return f"sum({MINUTES[column]}) / nullif({COVERED}, 0)"


def total(column: str) -> str:
    """How many in an interval, of a count."""
    return f"sum({MINUTES[column]})"


def standing() -> str:
    """A row a server that told how it stands."""
    columns = (
        "started_ts", "seen_age", "queued_reports", "waited_mean", "failed_commits", "turned_away", "sealing_overdue",
        "partitions_ahead", "receivers_failing", "receiver",
    )  # fmt: skip
    return f"""SELECT {SERVERS["server"]}, {", ".join(SERVERS[name] for name in columns)}
FROM {SERVERS} ORDER BY {SERVERS["seen_age"]} > 60 DESC, {SERVERS["server"]} LIMIT {_MOST}"""


def agents() -> str:
    """A row: how many nodes there are, report, lag behind, gave reports up, and have a clock that is off."""
    behind, dropped, offset = NODES["backlog_reports"], NODES["backlog_dropped"], NODES["clock_offset_seconds"]
    return f"""SELECT count(*) AS nodes, count(*) FILTER (WHERE {NODES["state"]} = 'reporting') AS reporting,
  count(*) FILTER (WHERE {behind} > 0) AS behind, count(*) FILTER (WHERE {dropped} > 0) AS dropped,
  count(*) FILTER (WHERE abs({offset}) > 1) AS off
FROM {NODES} WHERE {_CHOSEN}"""


def backlogs() -> str:
    """The nodes with most reports that wait on them, or that were given up."""
    where = f"({NODES['backlog_reports']} > 0 OR {NODES['backlog_dropped']} > 0)"
    return f"""SELECT {NODES["node"]}, {NODES["site"]}, {NODES["state"]}, {NODES["backlog_reports"]},
  {NODES["backlog_bytes"]}, {NODES["backlog_dropped"]}, {NODES["last_seen"]}, {NODES["agent_version"]},
  {NODES["node_uuid"]}
FROM {NODES} WHERE {where} AND {_CHOSEN}
ORDER BY {NODES["backlog_reports"]} DESC NULLS LAST, {NODES["backlog_dropped"]} DESC, 1 LIMIT {_MOST}"""


def clocks() -> str:
    """The nodes whose clocks are furthest off."""
    return f"""SELECT {NODES["node"]}, {NODES["site"]}, {NODES["clock_offset_seconds"]} AS "offset",
  {NODES["last_seen"]}, {NODES["node_uuid"]}
FROM {NODES} WHERE {NODES["clock_offset_seconds"]} IS NOT NULL AND {_CHOSEN}
ORDER BY abs({NODES["clock_offset_seconds"]}) DESC, 1 LIMIT 50"""


def versions() -> str:
    """How many nodes have an agent of which version, and how far their samples are apart."""
    return f"""SELECT {NODES["agent_version"]}, count(*) AS nodes,
  count(*) FILTER (WHERE {NODES["state"]} = 'reporting') AS reporting, min({NODES["interval_seconds"]}) AS shortest,
  max({NODES["interval_seconds"]}) AS longest, max({NODES["last_seen"]}) AS last
FROM {NODES} WHERE {_CHOSEN} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_MOST}"""


def rules() -> str:
    """A row a rule: how its last evaluation went; those that fail first, then those that take longest."""
    columns = (
        "rule", "failures", "ran_ts", "succeeded_ts", "seconds", "subjects", "found", "held_back", "held_since_ts",
        "wait_seconds",
    )  # fmt: skip
    return f"""SELECT {", ".join(RULES[name] for name in columns)}
FROM {RULES} ORDER BY {RULES["failures"]} DESC, {RULES["seconds"]} DESC NULLS LAST, 1 LIMIT {_MOST}"""


def size() -> str:
    """A row: what all tables take on disk, and in how many partitions."""
    return (
        f"SELECT sum({SIZES['bytes']})::bigint AS bytes, sum({SIZES['partitions']})::bigint AS partitions FROM {SIZES}"
    )


def largest() -> str:
    """What the largest tables take."""
    return f"SELECT {SIZES['title']}, {SIZES['bytes']} FROM {SIZES} ORDER BY 2 DESC, 1 LIMIT 12"


def sizes() -> str:
    """A row a table."""
    columns = ", ".join(SIZES[name] for name in ("title", "table_name", "rows", "bytes", "partitions"))
    per_row = f"{SIZES['bytes']} / nullif({SIZES['rows']}, 0)::float8"
    return f"SELECT {columns}, {per_row} AS per_row FROM {SIZES} ORDER BY {SIZES['bytes']} DESC, 1 LIMIT {_MOST}"
