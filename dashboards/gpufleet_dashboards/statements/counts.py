"""GPUs by state, model or site over time, in SQL: of counts that a server makes once a minute."""

from gpufleet_server.store.grafana.view import View
from gpufleet_server.store.grafana.views.fleet_states import VIEW as STATES
from gpufleet_server.store.grafana.views.fleet_states_hours import VIEW as STATES_HOURS
from gpufleet_server.store.grafana.views.fleet_states_six_hours import VIEW as STATES_SIX_HOURS
from gpufleet_server.store.grafana.views.fleet_states_ten_minutes import VIEW as STATES_TEN_MINUTES

from gpufleet_dashboards.sql import HOUR_MS, MINUTE_MS, Branch, Tier, as_time, by_tier, chosen
from gpufleet_dashboards.statements.gaps import ended


def tiers(minutes: View, ten_minutes: View, hours: View, six_hours: View) -> tuple[tuple[Tier, ...], tuple[Tier, ...]]:
    """What to read of a whole range, and what over time: the same for counts and for what is set beside them.

    Minutes of a whole fleet are many: up to some hours. What is of a whole range is of its hours.
    """
    short = Tier(minutes, MINUTE_MS, 2 * MINUTE_MS), Tier(ten_minutes, 10 * MINUTE_MS, HOUR_MS)
    over_time = Tier(hours, HOUR_MS, 6 * HOUR_MS), Tier(six_hours, 6 * HOUR_MS)
    return (*short, Tier(hours, HOUR_MS)), (*short, *over_time)


OF_RANGE, OVER_TIME = tiers(STATES, STATES_TEN_MINUTES, STATES_HOURS, STATES_SIX_HOURS)


def counted(label: str) -> str:
    """A series for each state, model or site: `time`, the label, and `gpus`, the mean of an interval.

    Where others were counted and none of a label, that is 0.
    """
    rows = f"""WITH told AS MATERIALIZED (
{by_tier(OVER_TIME, lambda branch: _select(branch, label))}
),
shown AS (SELECT at / width * width AS begin, max(width) AS width, count(DISTINCT at) AS counted FROM told GROUP BY 1)
SELECT {as_time("begin")} AS time, named.{label}, coalesce(sum(gpus), 0) / counted AS gpus,
  shown.width / 1000000.0::float8 AS step
FROM shown CROSS JOIN (SELECT DISTINCT {label} FROM told) AS named
LEFT JOIN told ON told.at / told.width * told.width = begin AND told.{label} = named.{label}
GROUP BY begin, counted, shown.width, named.{label}"""
    return ended(rows, (label,), ("gpus",))


def _select(branch: Branch, label: str) -> str:
    return f"""SELECT {branch["at"]}, {branch[label]}, sum({branch["gpus"]})::float8 AS gpus,
  {branch.width_us} AS width
FROM {branch} WHERE {branch.here} AND {chosen(branch, "site", "model")} GROUP BY {branch["at"]}, {branch[label]}"""
