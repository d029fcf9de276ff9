"""How the fleet stands at the end of the range, and now, in SQL: GPUs by state, their use, and open alerts.

Each is the body of a common table expression with `site`, `model` and what it counts.
"""

from gpufleet_server.store.grafana.views.alerts import VIEW as ALERTS
from gpufleet_server.store.grafana.views.fleet_minutes import VIEW as MINUTES
from gpufleet_server.store.grafana.views.fleet_states import VIEW as STATES
from gpufleet_server.store.grafana.views.gpus import VIEW as GPUS

from gpufleet_dashboards.sql import END, HOUR_MS, NOW_US, chosen

_MINUTE_US = 60_000_000
# Old counts are kept for each hour only; further back is not how the fleet stands.
_OLDEST_US = HOUR_MS * 1000 + 5 * _MINUTE_US
# Agents' reports of a minute are all there half a minute after it, unless they report seldom or are behind.
_COME_US = 30_000_000
# The last whole minute: when it begins.
LAST_MINUTE = f"(({END} - {_COME_US}) / {_MINUTE_US} - 1) * {_MINUTE_US}"
MINUTE_SECONDS = 60


def _counted(within: str) -> str:
    return f"""SELECT site, model, state, gpus FROM (
  SELECT {STATES["site"]}, {STATES["model"]}, {STATES["state"]}, {STATES["gpus"]},
    {STATES["at"]} = max({STATES["at"]}) OVER () AS newest
  FROM {STATES} WHERE {within}
) AS counts WHERE newest AND {chosen(STATES, "site", "model")}"""


# GPUs by site, model and state: of the last time that they were counted, in the range, and now.
COUNTED = _counted(f"{STATES['at']} <= {END} AND {STATES['at']} > {END} - {_OLDEST_US}::bigint")
# Not asked for in a select of its own: of what that gives, PostgreSQL expects that a third of all rows are later.
COUNTED_NOW = _counted(f"{STATES['at']} > {NOW_US} - {_OLDEST_US}::bigint")

_OPEN = f"{ALERTS['state']} = 'firing' AND {ALERTS['severity']} = 'critical'"
_ONE = f"""SELECT {GPUS["gpu_id"]}, {GPUS["site"]}, {GPUS["model"]}
  FROM {GPUS} WHERE {GPUS["state"]} = 'reporting' AND {chosen(GPUS, "site", "model")}"""

# GPUs that report and have, or whose node has, a critical alert that fires, now; each once.
AILING = f"""SELECT site, model, count(*) AS gpus FROM (
  {_ONE} AND {GPUS["gpu"]} IN (SELECT {ALERTS["gpu"]} FROM {ALERTS} WHERE {_OPEN})
  UNION
  {_ONE} AND {GPUS["node_uuid"]} IN (
    SELECT {ALERTS["node_uuid"]} FROM {ALERTS} WHERE {_OPEN} AND {ALERTS["gpu"]} IS NULL
  )
) AS each GROUP BY site, model"""

# GPU-seconds of the last whole minute by use, watt-seconds, and the GPU-seconds that these are known of.
USED = f"""SELECT {MINUTES["site"]}, {MINUTES["model"]}, {MINUTES["use"]}, {MINUTES["gpu_seconds"]},
  {MINUTES["power_sum"]}, {MINUTES["power_seconds"]}
FROM {MINUTES} WHERE {MINUTES["at"]} = {LAST_MINUTE} AND {chosen(MINUTES, "site", "model")}"""

# Watts of that minute; NULL, and not 0, where none told its power.
WATTS = f"CASE WHEN sum(power_seconds) > 0 THEN sum(power_sum) END / {MINUTE_SECONDS}"


def gpus_in(*uses: str) -> str:
    """How many GPUs were in these uses in the last whole minute: a mean over it. NULL where nothing was told."""
    listed = ", ".join(f"'{use}'" for use in uses)
    return f"sum(CASE WHEN use IN ({listed}) THEN gpu_seconds ELSE 0 END) / {MINUTE_SECONDS}"
