"""Who held GPUs: intervals as bands, and what each workload had."""

from gpufleet_server.store.grafana.views.gpus import VIEW as GPUS
from gpufleet_server.store.grafana.views.usage import VIEW as USAGE

from gpufleet_dashboards import units
from gpufleet_dashboards.query import TIME, Query, metric, moment, number, text
from gpufleet_dashboards.sql import BEGIN, DAY_MS, END, INTERVAL_MS, Columns

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
    """From when on which workloads held each GPU, by position; conditions on `usage` and on `gpus` say which GPUs.

    Of what was shorter than an interval of the panel nothing could be seen: it is left out.
    """
    position = "coalesce({}::text, '?')"
    sql = f"""WITH held AS MATERIALIZED (
  SELECT {position.format(USAGE["position"])} AS gpu, {_HOLDER} AS holder,
    greatest({USAGE["begin_at"]}, {BEGIN}) AS began, least({USAGE["end_at"]}, {END}) AS ended
  FROM {USAGE} WHERE {usage} AND {OVERLAPS}
    AND {USAGE["end_at"]} - {USAGE["begin_at"]} >= {INTERVAL_MS} * 1000::bigint
), moments AS (
  SELECT gpu, began AS at FROM held UNION SELECT gpu, ended FROM held
  UNION SELECT {position.format(GPUS["position"])}, {BEGIN} FROM {GPUS} WHERE {gpus}
)
SELECT to_timestamp(moments.at / 1000000.0::float8) AS time, moments.gpu,
  string_agg(DISTINCT held.holder, ', ' ORDER BY held.holder) AS holder
FROM moments LEFT JOIN held ON held.gpu = moments.gpu AND held.began <= moments.at AND held.ended > moments.at
GROUP BY 1, 2 ORDER BY 1, length(moments.gpu), moments.gpu"""
    return Query(sql, {"time": TIME, "gpu": text(nullable=False), "holder": text()})


def workloads(usage: str) -> Query:
    """What each workload had of the GPUs that a condition on `usage` names, those with most first."""
    sql = f"""SELECT {_HOLDER} AS holder, {USAGE["kind"]}, {USAGE["user_name"]}, {USAGE["account"]},
  {USAGE["namespace"]}, count(DISTINCT {USAGE["gpu_id"]}) AS gpus,
  sum({USAGE["active_seconds"]} * {_PART}) / 3600 AS active_hours,
  sum({USAGE["held_seconds"]} * {_PART}) / 3600 AS held_hours,
  sum({USAGE["activity_mean"]} * {USAGE["observed_seconds"]})
    / nullif(sum({USAGE["observed_seconds"]}) FILTER (WHERE {USAGE["activity_mean"]} IS NOT NULL), 0) AS activity,
  max({USAGE["memory_most"]}) AS memory_most,
  to_timestamp(min({USAGE["begin_at"]}) / 1000000.0::float8) AS first,
  to_timestamp(max({USAGE["end_at"]}) / 1000000.0::float8) AS last
FROM {USAGE} WHERE {usage} AND {OVERLAPS}
GROUP BY {USAGE["holder_id"]}, 1, 2, 3, 4, 5 ORDER BY 7 + 8 DESC NULLS LAST, 1 LIMIT 100"""
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
