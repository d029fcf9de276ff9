"""The fleet over time and in all: sums of its rollups by site, model and use, beside how many GPUs there were.

Values are SQL over groups of rows with the sums that were asked for, and with

* `owned`: how many GPUs there were, in rows of their own, which have nothing else;
* `seconds`: how long the interval is, from the first of what was told on, and until the last;
* `counted`: how many times of it GPUs were counted.
"""

from collections.abc import Callable, Sequence

from gpufleet_agent.catalogue import Metric
from gpufleet_server.store.grafana.views.fleet_hours import VIEW as HOURS
from gpufleet_server.store.grafana.views.fleet_minutes import VIEW as MINUTES
from gpufleet_server.store.grafana.views.fleet_ten_minutes import VIEW as TEN_MINUTES

from gpufleet_dashboards.sql import END, HOUR_MS, MINUTE_MS, Branch, Tier, as_time, by_tier, chosen, likely
from gpufleet_dashboards.statements import counts
from gpufleet_dashboards.statements.gaps import ended

# Minutes of a whole fleet are many: up to some hours.
_TIERS = (
    Tier(MINUTES, MINUTE_MS, 2 * MINUTE_MS),
    Tier(TEN_MINUTES, 10 * MINUTE_MS, HOUR_MS),
    Tier(HOURS, HOUR_MS, None),
)
# Sums over rows of a rollup, by name.
Sums = Callable[[Branch], dict[str, str]]

# How many GPUs there were, the mean of the times that they were counted.
OWNED = "(sum(owned) / nullif(counted, 0))"
# Which share of their time is in samples, where `gpu_seconds` is among the sums. Nothing heard of them is 0;
# nor is anything said where none were counted: least() would make 1 of that.
COVERAGE = f"CASE WHEN sum(owned) > 0 THEN least(1, coalesce(sum(gpu_seconds), 0) / (seconds * {OWNED})) END"


def observed(branch: Branch) -> dict[str, str]:
    """GPUs × seconds that are in samples."""
    return {"gpu_seconds": f"sum({branch['gpu_seconds']})"}


def of_use(branch: Branch, *uses: str, column: str = "gpu_seconds") -> str:
    """A sum of a column over GPUs in one of these uses."""
    listed = ", ".join(f"'{use}'" for use in uses)
    return f"sum({branch[column]}) FILTER (WHERE {branch['use']} IN ({listed}))"


def over_time(labels: Sequence[str], sums: Sums, values: dict[str, str]) -> str:
    """A series for each combination of labels, of `site`, `model` and `use`, and each value."""
    same = "".join(f" AND told.{label} = named.{label}" for label in labels)
    names = f"(SELECT DISTINCT {', '.join(labels) or '1 AS one'} FROM told) AS named"
    rows = f"""WITH {_told(labels, sums, values, by_interval=True)},
ends AS (SELECT min(first) AS first, max(last) AS last FROM told),
shown AS (
  SELECT begin, max(width) AS width, count(DISTINCT counted_at) AS counted,
    (least(begin + max(width), max(ends.last)) - greatest(begin, min(ends.first))) / 1000000.0::float8 AS seconds
  FROM told CROSS JOIN ends GROUP BY 1
)
SELECT {as_time("shown.begin")} AS time, {_listed(labels, "named.")}{_values(values)},
  shown.width / 1000000.0::float8 AS step
FROM shown CROSS JOIN {names} LEFT JOIN told ON told.begin = shown.begin{same}
GROUP BY {_listed(labels, "named.")}shown.begin, seconds, counted, shown.width"""
    return ended(rows, labels, tuple(values))


def in_use() -> str:
    """A series a use: `gpus`, how many an interval observed in it. 0 where it observed others alone, not where none."""
    return over_time(("use",), observed, {"gpus": "coalesce(sum(gpu_seconds), 0) / seconds"})


def in_all(labels: Sequence[str], sums: Sums, values: dict[str, str]) -> str:
    """A row for each combination of labels, of the whole range; none where nothing was told."""
    return f"""WITH {_told(labels, sums, values, by_interval=False)},
shown AS (
  SELECT (max(last) - min(first)) / 1000000.0::float8 AS seconds, count(DISTINCT counted_at) AS counted FROM told
)
SELECT {_listed(labels)}{_values(values)}
FROM told CROSS JOIN shown GROUP BY {_listed(labels)}seconds, counted"""


def _told(labels: Sequence[str], sums: Sums, values: dict[str, str], *, by_interval: bool) -> str:
    """Sums of the tier that is asked for, a row a combination of labels; counts of GPUs where values need them."""

    def shown(branch: Branch) -> dict[str, str]:
        return {"begin": branch.begin_us, "width": branch.width_us} if by_interval else {}

    def of_rollups(branch: Branch) -> str:
        cells = shown(branch) | sums(branch) | {"owned": "NULL::float8", "counted_at": "NULL::bigint"}
        return _select(branch, labels, cells, (branch.begin_us,) if by_interval else ())

    def of_counts(branch: Branch) -> str:
        nothing = dict.fromkeys(sums(Branch(_TIERS[0], 0)), "NULL::float8")
        cells = shown(branch) | nothing | {"owned": f"sum({branch['gpus']})::float8", "counted_at": branch["at"]}
        return _select(branch, labels, cells, (branch["at"],))

    parts = [by_tier(_TIERS, of_rollups)]
    if any("owned" in value for value in values.values()):
        parts.append(by_tier(counts.TIERS, of_counts))
    return f"told AS MATERIALIZED (\n{_UNION.join(parts)}\n)"


_UNION = "\nUNION ALL\n"


def _select(branch: Branch, labels: Sequence[str], cells: dict[str, str], by: Sequence[str]) -> str:
    step = (branch.tier.step_ms or 0) * 1000
    named = [branch[label] for label in labels]
    grouped = ", ".join((*named, *by))
    # What is going on is not over: its sums would be too small.
    return f"""SELECT {_listed(named)}{_values(cells)},
  min({branch["at"]}) AS first, max({branch["at"]}) + {step} AS last
FROM {branch}
WHERE {branch.here} AND {branch["at"]} + {step} <= {END} AND {likely(chosen(branch, "site", "model"))}
GROUP BY {grouped or "()"} HAVING count(*) > 0"""


def _listed(labels: Sequence[str], before: str = "") -> str:
    return "".join(f"{before}{label}, " for label in labels)


def _values(values: dict[str, str]) -> str:
    return ", ".join(f"{value} AS {name}" for name, value in values.items())


def flags_seen(metric: Metric, bits: dict[str, int]) -> str:
    """How many rows of a model's GPUs had which flag set, of how many, and in which it was last; bits by words."""

    def rows(branch: Branch) -> str:
        each = f"{(branch.tier.step_ms or 0) // 1000}"
        cells = {"at": branch["at"], "each": each, "flags": f"bit_or({branch[metric.name]})"}
        return _select(branch, ("model",), cells, (branch["at"],))

    values = ", ".join(f"('{word}', {bit})" for word, bit in bits.items())
    return f"""WITH told AS MATERIALIZED (
{by_tier(_TIERS, rows)}
), known AS (SELECT model, count(*) AS told FROM told GROUP BY 1)
SELECT model, flag.word AS flag, count(*) * max(each) AS seconds, count(*)::float8 / max(known.told) AS share,
  {as_time("max(at)")} AS last
FROM told JOIN known USING (model) JOIN (VALUES {values}) AS flag (word, bit) ON flags & bit <> 0
GROUP BY model, flag.word ORDER BY share DESC, model, flag.word"""
