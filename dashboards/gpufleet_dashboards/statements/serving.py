"""gpufleet itself: its servers over time, the agents, the rules and the database, in SQL."""

from collections.abc import Callable, Mapping, Sequence

from gpufleet_server.store.grafana.views.nodes import VIEW as NODES
from gpufleet_server.store.grafana.views.rule_runs import VIEW as RULES
from gpufleet_server.store.grafana.views.server_hours import VIEW as HOURS
from gpufleet_server.store.grafana.views.server_minutes import VIEW as MINUTES
from gpufleet_server.store.grafana.views.servers import VIEW as SERVERS
from gpufleet_server.store.grafana.views.table_sizes import VIEW as SIZES

from gpufleet_dashboards.sql import END, HOUR_MS, MINUTE_MS, Branch, Columns, Tier, by_tier, chosen
from gpufleet_dashboards.statements.gaps import ended

_TIERS = (Tier(MINUTES, MINUTE_MS, HOUR_MS), Tier(HOURS, HOUR_MS))
# A value over rows of a tier, in SQL.
Value = Callable[[Columns], str]
_CHOSEN = chosen(NODES, "site")
_MOST = 100


def by_server(values: Mapping[str, Value]) -> str:
    """A series for each server: values over its minutes, or hours, by name. Its line ends where it did not run."""
    return ended(_rows(values, ("server",)), ("server",), tuple(values))


def of_all(values: Mapping[str, Value]) -> str:
    """The same of all servers together."""
    return ended(_rows(values, ()), (), tuple(values))


def _rows(values: Mapping[str, Value], labels: Sequence[str]) -> str:
    def select(branch: Branch) -> str:
        step = (branch.tier.step_ms or 0) * 1000
        each = [branch[label] for label in labels]
        each += [f"{value(branch)} AS {name}" for name, value in values.items()]
        # Grouped by numbers, which costs less than by times.
        return f"""SELECT {branch["at"]} / {branch.width_us} AS slot, {", ".join(each)}, {branch.seconds} AS step
FROM {branch} WHERE {branch.here} AND {branch["at"]} <= {END} - {step}
GROUP BY {", ".join(("1", *(branch[label] for label in labels)))}"""

    return f"""SELECT to_timestamp(slot * step) AS time, {", ".join((*labels, *values))}, step
FROM (
{by_tier(_TIERS, select)}
) AS slots"""


def rate(column: str) -> Value:
    """How many a second, of a count."""
    return lambda rows: f"sum({rows[column]}) / nullif(sum({rows['covered']}), 0)"


def total(column: str) -> Value:
    """How many in an interval, of a count."""
    return lambda rows: f"sum({rows[column]})"


def most(column: str) -> Value:
    """The most of an interval."""
    return lambda rows: f"max({rows[column]})"


def mean(column: str, *counts: str) -> Value:
    """The mean of what was counted, of means: an hour's is made in the same way of its minutes'."""

    def value(rows: Columns) -> str:
        weight = " + ".join(rows[count] for count in counts)
        known = f"sum({weight}) FILTER (WHERE {rows[column]} IS NOT NULL)"
        return f"sum({rows[column]} * ({weight})) / nullif({known}, 0)::float8"

    return value


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
