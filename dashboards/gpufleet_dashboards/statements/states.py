"""Metrics that are sent when they change, of one GPU: over time, and what is in force."""

from collections.abc import Sequence

from gpufleet_agent.catalogue import ON_CHANGE, Metric, Unit
from gpufleet_server.store.grafana.views.states import VIEW as STATES

from gpufleet_dashboards import units
from gpufleet_dashboards.query import TIME, Query, moment, number, text
from gpufleet_dashboards.sql import BEGIN, END, INTERVAL_US, NOW_US, as_time, is_one


def _of_gpu() -> str:
    return f"{is_one(STATES, 'node_uuid', 'node')} AND {is_one(STATES, 'gpu', 'gpu')}"


def over_time(listed: Sequence[Metric]) -> Query:
    """What was in force of each metric at the end of each interval, a column each; of flags, how many were set."""
    columns = ", ".join(f"{_in_force(each)} AS {each.name}" for each in listed)
    sql = f"""SELECT {as_time("moment")} AS time, {columns}
FROM generate_series({BEGIN}, least({END}, {NOW_US}), {INTERVAL_US}) AS moment
ORDER BY 1"""
    return Query(sql, {"time": TIME} | {each.name: number(units.unit_of(each)) for each in listed})


def _in_force(each: Metric) -> str:
    value = f"bit_count({STATES['stored']}::bit(64))::float8" if each.unit is Unit.FLAGS else STATES["value"]
    return f"""(SELECT {value} FROM {STATES} WHERE {_of_gpu()} AND {STATES["metric"]} = '{each.name}'
  AND {STATES["at"]} <= moment ORDER BY {STATES["at"]} DESC LIMIT 1)"""


def now() -> Query:
    """What is in force of each at the end of the range, with its unit, since when, or why it is absent."""
    rows = ", ".join(
        f"({number}, '{each.name}', '{each.unit.symbol}', '{_quoted(each.help)}')"
        for number, each in enumerate(ON_CHANGE)
    )
    sql = f"""SELECT known.metric, last.value, known.unit, last.reason, last.since, known.help
FROM (VALUES {rows}) AS known (number, metric, unit, help)
CROSS JOIN LATERAL (SELECT {STATES["value"]}, {STATES["reason"]}, {STATES["ts"]} AS since FROM {STATES}
  WHERE {_of_gpu()} AND {STATES["metric"]} = known.metric AND {STATES["at"]} < {END}
  ORDER BY {STATES["at"]} DESC LIMIT 1) AS last
ORDER BY known.number"""
    columns = {
        "metric": text("Metric", width=260),
        "value": number(units.COUNT, "Value", width=140),
        "unit": text("Unit", width=80),
        "reason": text("Why it is absent", width=150),
        "since": moment("Since", width=180),
        "help": text("What it is"),
    }
    return Query(sql, columns)


def _quoted(words: str) -> str:
    return words.replace("'", "''").replace(";", ",")
