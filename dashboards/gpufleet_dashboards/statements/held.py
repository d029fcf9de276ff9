"""Who held GPUs: intervals as bands, and what each workload had."""

from gpufleet_server.store.grafana.views.gpus import VIEW as GPUS
from gpufleet_server.store.grafana.views.usage import VIEW as USAGE

from gpufleet_dashboards import units
from gpufleet_dashboards.query import TIME, Query, metric, moment, number, text
from gpufleet_dashboards.sql import BEGIN, DAY_MS, END, INTERVAL_US, Columns, as_time

# Intervals are cut at midnight: what overlaps the range began at most a day before it.
OVERLAPS = (
    f"{USAGE['begin_at']} >= {BEGIN} - {DAY_MS * 1000}::bigint AND {USAGE['begin_at']} < {END}"
    f" AND {USAGE['end_at']} > {BEGIN}"
)
# Which part of an interval is in the range.
_PART = (
    f"(least({USAGE['end_at']}, {END}) - greatest({USAGE['begin_at']}, {BEGIN}))::float8"
    f" / nullif({USAGE['end_at']} - {USAGE['begin_at']}, 0)"
)


def named(view: Columns, name: str) -> str:
    """What to call an owner, or a workload, whose name is SQL: those that are none by what they are."""
    return f"CASE WHEN {view['kind']} IN ('nobody', 'unknown') THEN '(' || {view['kind']} || ')' ELSE {name} END"


def bands(usage: str, gpus: str) -> Query:
    """Which workloads had each GPU in each interval, by position; conditions on `usage` and on `gpus` say which GPUs.

    Told are the one that had it longest, and those that had it for half of the interval; nobody is NULL.
    """
    width = INTERVAL_US
    position = "coalesce({}::text, '?')"
    sql = f"""WITH held AS MATERIALIZED (
  SELECT {position.format(USAGE["position"])} AS gpu, {_HOLDER} AS holder,
    greatest({USAGE["begin_at"]}, {BEGIN}) AS began, least({USAGE["end_at"]}, {END}) AS ended
  FROM {USAGE} WHERE {usage} AND {OVERLAPS}
), parts AS (
  SELECT gpu, begin, holder, sum(least(ended, begin + {width}) - greatest(began, begin)) AS length
  FROM held CROSS JOIN LATERAL generate_series(began / {width} * {width}, ended - 1, {width}) AS begin GROUP BY 1, 2, 3
), placed AS (
  SELECT *, row_number() OVER (PARTITION BY gpu, begin ORDER BY length DESC, holder) AS place FROM parts
), most AS (
  SELECT gpu, begin, string_agg(holder, ', ' ORDER BY place) AS holder FROM placed
  WHERE place = 1 OR 2 * length >= {width} GROUP BY 1, 2
)
SELECT {as_time("begin")} AS time, gpu, most.holder
FROM generate_series({BEGIN} / {width} * {width}, {END} - 1, {width}) AS begin
CROSS JOIN (SELECT DISTINCT {position.format(GPUS["position"])} AS gpu FROM {GPUS} WHERE {gpus}) AS gpus
LEFT JOIN most USING (gpu, begin) ORDER BY 1, length(gpu), gpu"""
    return Query(sql, {"time": TIME, "gpu": text(nullable=False), "holder": text()})


def workloads(usage: str) -> Query:
    """What each workload had of the GPUs that a condition on `usage` names, those with most first."""
    observed = f"{USAGE['observed_seconds']} * {_PART}"
    had = f"sum(({USAGE['active_seconds']} + {USAGE['held_seconds']}) * {_PART})"
    sql = f"""SELECT {_HOLDER} AS holder, {USAGE["kind"]}, {USAGE["user_name"]}, {USAGE["account"]},
  {USAGE["namespace"]}, count(DISTINCT {USAGE["gpu_id"]}) AS gpus,
  sum({USAGE["active_seconds"]} * {_PART}) / 3600 AS active_hours,
  sum({USAGE["held_seconds"]} * {_PART}) / 3600 AS held_hours,
  sum({USAGE["activity_mean"]} * {observed})
    / nullif(sum({observed}) FILTER (WHERE {USAGE["activity_mean"]} IS NOT NULL), 0) AS activity,
  max({USAGE["memory_most"]}) AS memory_most,
  {as_time(f"min({USAGE['begin_at']})")} AS first,
  {as_time(f"max({USAGE['end_at']})")} AS last
FROM {USAGE} WHERE {usage} AND {OVERLAPS}
GROUP BY {USAGE["holder_id"]}, 1, 2, 3, 4, 5 ORDER BY {had} DESC NULLS LAST, 1 LIMIT 100"""
    columns = {
        "holder": text("Workload", width=260),
        "kind": text("Kind"),
        "user_name": text("User"),
        "account": text("Account"),
        "namespace": text("Namespace"),
        "gpus": number(units.COUNT, "GPUs"),
        "active_hours": number(units.GPU_HOURS, "Active", decimals=2),
        "held_hours": number(units.GPU_HOURS, "Held, nothing ran", decimals=2),
        "activity": number(units.PERCENT, "Its kernels ran", decimals=0),
        "memory_most": metric("fb_used", "Most memory"),
        "first": moment("From"),
        "last": moment("Until"),
    }
    return Query(sql, columns)


_HOLDER = named(USAGE, USAGE["holder"])
