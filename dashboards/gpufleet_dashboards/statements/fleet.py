"""The fleet over time and in all: sums of its rollups by site, model and use, beside how many GPUs there were.

Values are SQL over groups of rows with the sums that were asked for, and with

* `owned`: how many GPUs there were, in all counts together;
* `seconds`: how long the interval is, from the first of what was told on, and until the last;
* `counted`: how many times of it GPUs were counted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gpufleet_agent.catalogue import Metric
from gpufleet_server.store.grafana.views.fleet_groups import VIEW as GROUPS
from gpufleet_server.store.grafana.views.fleet_hours import VIEW as HOURS
from gpufleet_server.store.grafana.views.fleet_minutes import VIEW as MINUTES
from gpufleet_server.store.grafana.views.fleet_six_hours import VIEW as SIX_HOURS
from gpufleet_server.store.grafana.views.fleet_ten_minutes import VIEW as TEN_MINUTES

from gpufleet_dashboards.everything import PLACES_CHOSEN
from gpufleet_dashboards.sql import END, Branch, as_time, by_tier, chosen, likely
from gpufleet_dashboards.statements import counts
from gpufleet_dashboards.statements.gaps import ended

OF_RANGE, OVER_TIME = counts.tiers(MINUTES, TEN_MINUTES, HOURS, SIX_HOURS)


@dataclass(frozen=True, slots=True)
class Sum:
    """A column of the fleet's rollups, added up over all GPUs, or over those in some uses alone."""

    column: str
    uses: tuple[str, ...] = ()


# By what values call them.
Sums = Mapping[str, Sum]
# GPUs × seconds that are in samples.
OBSERVED: Sums = {"gpu_seconds": Sum("gpu_seconds")}

# How many GPUs there were, the mean of the times that they were counted.
OWNED = "(sum(owned) / nullif(counted, 0))"
# Which share of their time is in samples, where `gpu_seconds` is among the sums. Nothing heard of them is 0;
# nor is anything said where none were counted: least() would make 1 of that.
COVERAGE = f"CASE WHEN sum(owned) > 0 THEN least(1, coalesce(sum(gpu_seconds), 0) / (seconds * {OWNED})) END"


def over_time(labels: Sequence[str], sums: Sums, values: Mapping[str, str]) -> str:
    """A series for each combination of labels, of `site`, `model` and `use`, and each value."""
    same = "".join(f" AND told.{label} = named.{label}" for label in labels)
    names = f"(SELECT DISTINCT {', '.join(labels) or '1 AS one'} FROM told) AS named"
    rows = f"""WITH {_told(labels, sums, values, of_intervals=True)},
ends AS (SELECT min(first) AS first, max(last) AS last FROM told),
shown AS (
  SELECT begin, max(width) AS width, max(times.counted) AS counted,
    (least(begin + max(width), max(ends.last)) - greatest(begin, min(ends.first))) / 1000000.0::float8 AS seconds
  FROM told LEFT JOIN times USING (begin) CROSS JOIN ends GROUP BY begin
)
SELECT {as_time("shown.begin")} AS time, {_listed(labels, "named.")}{_values(values)},
  shown.width / 1000000.0::float8 AS step
FROM shown CROSS JOIN {names} LEFT JOIN told ON told.begin = shown.begin{same}
GROUP BY {_listed(labels, "named.")}shown.begin, seconds, counted, shown.width"""
    return ended(rows, labels, tuple(values))


def in_use() -> str:
    """A series a use: `gpus`, how many an interval observed in it. 0 where it observed others alone, not where none."""
    return over_time(("use",), OBSERVED, {"gpus": "coalesce(sum(gpu_seconds), 0) / seconds"})


def in_all(labels: Sequence[str], sums: Sums, values: Mapping[str, str]) -> str:
    """A row for each combination of labels, of the whole range; none where nothing was told."""
    return f"""WITH {_told(labels, sums, values, of_intervals=False)},
shown AS (
  SELECT (max(last) - min(first)) / 1000000.0::float8 AS seconds, (SELECT counted FROM times) AS counted FROM told
)
SELECT {_listed(labels)}{_values(values)}
FROM told CROSS JOIN shown GROUP BY {_listed(labels)}seconds, counted"""


def _told(labels: Sequence[str], sums: Sums, values: Mapping[str, str], *, of_intervals: bool) -> str:
    """Sums of the tier that is asked for, a row an interval and combination of labels; and how often was counted.

    What is of a group is added up before it is named: so texts are asked of few rows. Where no value is of how many
    GPUs there were, counts are not read.
    """

    def interval(branch: Branch) -> tuple[str, str]:
        return (branch.begin_us, branch.width_us) if of_intervals else ("0::bigint", "0::bigint")

    def of_group(branch: Branch, cells: Mapping[str, str]) -> str:
        begin, width = interval(branch)
        return f"""SELECT {branch["group_id"]}, {begin} AS begin, {width} AS width, {_values(cells)},
  min({branch["at"]}) AS first, max({branch["at"]}) + {_step_us(branch)} AS last
FROM {branch} WHERE {_of_chosen(branch)} GROUP BY {branch["group_id"]}, {begin}"""

    def of_rollups(branch: Branch) -> str:
        return of_group(branch, {name: f"sum({branch[name]})" for name in columns} | {"owned": "NULL::float8"})

    def of_counts(branch: Branch) -> str:
        nothing = dict.fromkeys(columns, "NULL::float8")
        return of_group(branch, nothing | {"owned": f"sum({branch['gpus']})::float8"})

    def times(branch: Branch) -> str:
        begin, _ = interval(branch)
        return f"""SELECT begin, count(*) FROM (
  SELECT DISTINCT {begin} AS begin, {branch["at"]} FROM {branch} WHERE {_of_chosen(branch)}
) AS times GROUP BY 1"""

    columns = sorted({each.column for each in sums.values()})
    counting = any("owned" in value for value in values.values())
    if counting and "use" in labels:
        raise ValueError("GPUs are counted by their state: how many there were is not known by use")
    rollups, counted = (OVER_TIME, counts.OVER_TIME) if of_intervals else (OF_RANGE, counts.OF_RANGE)
    parts = [by_tier(rollups, of_rollups)] + ([by_tier(counted, of_counts)] if counting else [])
    named = {name: _of_uses(each) for name, each in sums.items()}
    return f"""of_group AS MATERIALIZED (
  SELECT {GROUPS["group_id"]}, {GROUPS["site"]}, {GROUPS["model"]}, {GROUPS["state"]} AS use
  FROM {GROUPS} WHERE {chosen(GROUPS, "site", "model")}
), each AS (
{_UNION.join(parts)}
), told AS MATERIALIZED (
  SELECT {_listed(labels)}begin, max(width) AS width, {_values(named)},
    sum(owned) AS owned, min(first) AS first, max(last) AS last
  FROM each JOIN of_group USING (group_id) GROUP BY {_listed(labels)}begin
), times (begin, counted) AS (
{by_tier(counted, times) if counting else "SELECT NULL::bigint, NULL::bigint WHERE false"}
)"""


_UNION = "\nUNION ALL\n"


def _of_uses(each: Sum) -> str:
    listed = ", ".join(f"'{use}'" for use in each.uses)
    return f"sum({each.column})" + (f" FILTER (WHERE use IN ({listed}))" if each.uses else "")


def _over(branch: Branch) -> str:
    """Rows of this tier; not what is going on, whose sums would be too small."""
    return f"{branch.here} AND {branch['at']} + {_step_us(branch)} <= {END}"


def _of_chosen(branch: Branch) -> str:
    """The same of groups that are chosen."""
    of_group = f"{branch['group_id']} IN (SELECT {GROUPS['group_id']} FROM of_group)"
    return f"{_over(branch)} AND ({PLACES_CHOSEN} OR {of_group})"


def _step_us(branch: Branch) -> int:
    return (branch.tier.step_ms or 0) * 1000


def _listed(labels: Sequence[str], before: str = "") -> str:
    return "".join(f"{before}{label}, " for label in labels)


def _values(values: Mapping[str, str]) -> str:
    return ", ".join(f"{value} AS {name}" for name, value in values.items())


def flags_seen(metric: Metric, bits: dict[str, int]) -> str:
    """How many rows of a model's GPUs had which flag set, of how many, and in which it was last; bits by words."""

    def rows(branch: Branch) -> str:
        step, flags = _step_us(branch), branch[metric.name]
        return f"""SELECT {branch["model"]}, {branch["at"]}, {step} AS step, bit_or({flags}) AS flags
FROM {branch} WHERE {_over(branch)}
  AND {likely(chosen(branch, "site", "model"))} GROUP BY {branch["model"]}, {branch["at"]}"""

    values = ", ".join(f"('{word}', {bit})" for word, bit in bits.items())
    return f"""WITH told AS MATERIALIZED (
{by_tier(OF_RANGE, rows)}
), known AS (SELECT model, count(*) AS told FROM told GROUP BY 1)
SELECT model, flag.word AS flag, count(*) * max(step) / 1000000 AS seconds,
  count(*)::float8 / max(known.told) AS share, {as_time("max(at)")} AS last
FROM told JOIN known USING (model) JOIN (VALUES {values}) AS flag (word, bit) ON flags & bit <> 0
GROUP BY model, flag.word ORDER BY share DESC, model, flag.word"""
