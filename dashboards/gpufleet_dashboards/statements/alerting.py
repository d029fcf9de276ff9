"""Alerts of the chosen sites: those that fire, those of a range, and how long they took, in SQL."""

from gpufleet_server.store.grafana.views.alert_changes import VIEW as CHANGES
from gpufleet_server.store.grafana.views.alerts import VIEW as ALERTS

from gpufleet_dashboards.sql import BEGIN, END, INTERVAL_US, NOW_US, as_time, begun, chosen, likely, within
from gpufleet_dashboards.statements.gaps import evenly

SEVERITIES = ("critical", "warning", "info")
_CHOSEN = likely(chosen(ALERTS, "site"))
_FIRING = f"{ALERTS['state']} = 'firing'"
_FIRED = f"{within(ALERTS, 'fired')} AND {_CHOSEN}"
_HELD = f"coalesce({ALERTS['held_by']}, '') <> ''"
_ACKNOWLEDGED = f"{ALERTS['acknowledged_at']} IS NOT NULL"
_GRAVEST = f"array_position(ARRAY['critical', 'warning', 'info'], {ALERTS['severity']})"
# How long it took, s.
_TOOK = f"({ALERTS['resolved']} - {ALERTS['fired']}) / 1000000.0::float8"
# How long it lasts, so far. Without those that still fire, the worse it is the better it would look.
_LASTS = f"greatest(coalesce({ALERTS['resolved']}, {NOW_US}) - {ALERTS['fired']}, 0) / 1000000.0::float8"
_UNTIL_SEEN = f"extract(epoch FROM coalesce({ALERTS['acknowledged_at']}, now()) - {ALERTS['fired_at']})"
# Until somebody acknowledged it, or so far; NULL of those that ended, or were held back, before anybody did.
_WAITS = f"CASE WHEN {_ACKNOWLEDGED} OR {_FIRING} AND NOT {_HELD} THEN greatest({_UNTIL_SEEN}, 0)::float8 END"
_MOST = 200


def by_severity() -> str:
    """A row: how many fire now, of each severity."""
    return f"SELECT {_severities()} FROM {ALERTS} WHERE {_FIRING} AND {_CHOSEN}"


def attention() -> str:
    """A row: of those that fire, how many nobody has seen to, are acknowledged, are held back."""
    return f"""SELECT count(*) FILTER (WHERE NOT {_ACKNOWLEDGED} AND NOT {_HELD}) AS open,
  count(*) FILTER (WHERE {_ACKNOWLEDGED}) AS acknowledged,
  count(*) FILTER (WHERE {_HELD} AND NOT {_ACKNOWLEDGED}) AS held
FROM {ALERTS} WHERE {_FIRING} AND {_CHOSEN}"""


def by_site() -> str:
    """A row a site: how many fire now, of each severity."""
    return f"""SELECT {ALERTS["site"]}, {_severities()}
FROM {ALERTS} WHERE {_FIRING} AND {_CHOSEN} GROUP BY 1 ORDER BY count(*) DESC, 1 LIMIT 30"""


def firing() -> str:
    """What fires now: the gravest first, of these the longest."""
    return f"""SELECT {ALERTS["severity"]}, {ALERTS["rule"]}, {ALERTS["site"]}, {ALERTS["rack"]}, {ALERTS["node"]},
  {ALERTS["position"]}, {ALERTS["text"]} AS what, extract(epoch FROM now() - {ALERTS["fired_at"]})::float8 AS age,
  {ALERTS["fired_at"]}, {ALERTS["acknowledged_by"]}, {ALERTS["held_by"]}, {ALERTS["node_uuid"]}, {ALERTS["gpu"]}
FROM {ALERTS} WHERE {_FIRING} AND {_CHOSEN} ORDER BY {_GRAVEST}, {ALERTS["fired"]} LIMIT {_MOST}"""


def held_back() -> str:
    """A row for each thing that keeps alerts which fire from being told."""
    return f"""SELECT {ALERTS["held_by"]}, count(*) AS alerts, count(DISTINCT {ALERTS["rule"]}) AS rules,
  min({ALERTS["fired_at"]}) AS oldest
FROM {ALERTS} WHERE {_FIRING} AND {_HELD} AND {_CHOSEN} GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT {_MOST}"""


def over_time(label: str) -> str:
    """A series for each value of a column: how many fired when an interval began."""
    return f"""WITH told AS MATERIALIZED (
  SELECT {ALERTS[label]} AS label, greatest({ALERTS["fired"]}, {BEGIN}) AS began, {ALERTS["resolved"]} AS ended
  FROM {ALERTS}
  WHERE {ALERTS["fired"]} < {END} AND ({_FIRING} OR {ALERTS["resolved"]} >= {BEGIN}) AND {_CHOSEN}
),
changes AS (
  SELECT label, (began + {INTERVAL_US} - 1) / {INTERVAL_US} AS slot, 1 AS change FROM told
  UNION ALL SELECT label, (ended + {INTERVAL_US} - 1) / {INTERVAL_US}, -1 FROM told WHERE ended IS NOT NULL
),
summed AS (SELECT label, slot, sum(change) AS change FROM changes GROUP BY label, slot)
SELECT {as_time(f"slot * {INTERVAL_US}")} AS time, label AS {ALERTS[label]},
  sum(coalesce(change, 0)) OVER (PARTITION BY label ORDER BY slot) AS alerts
FROM generate_series(({BEGIN} + {INTERVAL_US} - 1) / {INTERVAL_US}, ({END} - 1) / {INTERVAL_US}) AS slots (slot)
CROSS JOIN (SELECT DISTINCT label FROM told) AS labels LEFT JOIN summed USING (label, slot)
ORDER BY 1"""


def fired_over_time() -> str:
    """A series a severity: how many fired within an interval."""
    rows = f"""SELECT {begun(ALERTS["fired"])} AS time,
  {ALERTS["severity"]}, count(*)::float8 AS alerts
FROM {ALERTS} WHERE {_FIRED} GROUP BY 1, 2"""
    return evenly(rows, ("severity",), ("alerts",))


def by_rule() -> str:
    """A row for each rule that fired in the range or fires: how often, about how many nodes, how long they last."""
    in_range = within(ALERTS, "fired")
    # A median is of rows in order, and to sort words by the alphabet of a language takes far longer.
    return f"""SELECT {ALERTS["severity"]} COLLATE "C" AS severity, {ALERTS["rule"]} COLLATE "C" AS rule,
  count(*) FILTER (WHERE {in_range}) AS fired,
  count(*) FILTER (WHERE {_FIRING}) AS firing, count(DISTINCT {ALERTS["node_id"]}) AS nodes,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY {_LASTS}) AS median, max({_LASTS}) AS longest,
  avg(({_ACKNOWLEDGED})::integer::float8) AS acknowledged, {as_time(f"max({ALERTS['fired']})")} AS last
FROM {ALERTS} WHERE ({in_range} OR {_FIRING}) AND {_CHOSEN} GROUP BY 2, 1
ORDER BY 3 DESC, 4 DESC, 2 LIMIT {_MOST}"""


def offenders() -> str:
    """The nodes and GPUs about which most fired in the range."""
    place = ", ".join(ALERTS[name] for name in ("site", "node", "position", "model", "node_uuid", "gpu"))
    # Counted by numbers, and named afterwards, each as its newest alert names it.
    key = f"{ALERTS['node_id']}, {ALERTS['gpu_id']}"
    return f"""WITH told AS (
  SELECT {key}, {ALERTS["rule"]}, count(*) AS fired, count(*) FILTER (WHERE {_FIRING}) AS firing,
    max({ALERTS["fired"]}) AS last, max({ALERTS["alert_id"]}) AS newest
  FROM {ALERTS} WHERE {_FIRED} AND {ALERTS["node_id"]} IS NOT NULL GROUP BY 1, 2, 3
), most AS MATERIALIZED (
  SELECT sum(fired)::bigint AS fired, sum(firing)::bigint AS firing, count(*) AS rules, max(last) AS last,
    max(newest) AS newest
  FROM told GROUP BY {key} ORDER BY 1 DESC, 4 DESC, 5 LIMIT 50
)
SELECT {place}, most.fired, most.firing, most.rules, {as_time("most.last")} AS last
FROM most JOIN {ALERTS} ON {ALERTS["alert_id"]} = most.newest ORDER BY 7 DESC, 10 DESC, most.newest"""


def taken() -> str:
    """A row: how long those that fired in the range took to be acknowledged and to be resolved, or take so far, s.

    And how many still fire: of as many, the times are too short.
    """
    return f"""SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY {_WAITS}) AS acknowledged,
  percentile_cont(0.5) WITHIN GROUP (ORDER BY {_LASTS}) AS median,
  percentile_cont(0.9) WITHIN GROUP (ORDER BY {_LASTS}) AS ninth,
  count(*) FILTER (WHERE {_FIRING}) AS still
FROM {ALERTS} WHERE {_FIRED}"""


def shares() -> str:
    """A row: of those that fired in the range, how many there were, and which shares are resolved, acknowledged."""
    return f"""SELECT count(*) AS fired, avg(({ALERTS["state"]} = 'resolved')::integer::float8) AS resolved,
  avg(({_ACKNOWLEDGED})::integer::float8) AS acknowledged
FROM {ALERTS} WHERE {_FIRED}"""


def resolving_over_time() -> str:
    """A series a severity: of those resolved in an interval, the median of how long they took, s."""
    return f"""SELECT {begun(ALERTS["resolved"])} AS time,
  {ALERTS["severity"]}, percentile_cont(0.5) WITHIN GROUP (ORDER BY {_TOOK}) AS took
FROM {ALERTS} WHERE {within(ALERTS, "resolved")} AND {_CHOSEN} GROUP BY 1, 2 ORDER BY 1"""


def history() -> str:
    """The newest changes of the range."""
    return f"""SELECT {CHANGES["ts"]} AS time, {CHANGES["change"]}, {CHANGES["by"]} AS who, {CHANGES["text"]} AS said,
  {CHANGES["severity"]}, {CHANGES["rule"]}, {CHANGES["site"]}, {CHANGES["node"]}, {CHANGES["position"]},
  {CHANGES["node_uuid"]}, {CHANGES["gpu"]}
FROM {CHANGES} WHERE {within(CHANGES)} AND {likely(chosen(CHANGES, "site"))}
ORDER BY {CHANGES["at"]} DESC, {CHANGES["log_id"]} DESC LIMIT {_MOST}"""


def _severities() -> str:
    return ", ".join(f"count(*) FILTER (WHERE {ALERTS['severity']} = '{each}') AS {each}" for each in SEVERITIES)
