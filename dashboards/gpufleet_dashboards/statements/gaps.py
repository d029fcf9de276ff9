"""NULLs where nothing was told: Grafana draws a line from value to value, and bars as wide as times are close."""

from collections.abc import Sequence

from gpufleet_dashboards.sql import BEGIN, END, INTERVAL_US, as_time


def ended(rows: str, labels: Sequence[str], values: Sequence[str], until: str = "") -> str:
    """The rows, in the order of time, and one of NULLs wherever the next of the same labels does not follow at once.

    `rows` is a statement that gives `time` (when an interval begins), the labels (texts), the values (numbers), and
    `step`: after how many seconds the next row is due. `until` (timestamptz, SQL) is when the last would be followed
    if anything were still told: bands go on to the end of the range else, as lines do not.
    """
    of_series = f"PARTITION BY {', '.join(labels)} " if labels else ""
    following = f"lead(time) OVER ({of_series}ORDER BY time)"
    if until:
        following = f"coalesce({following}, {until})"
    nothing = (f"NULL::float8 AS {name}" for name in values)
    return f"""WITH told AS MATERIALIZED (
{rows}
)
SELECT {", ".join(("time", *labels, *values))} FROM told
UNION ALL
SELECT {", ".join(("time + step * interval '1 second'", *labels, *nothing))}
FROM (SELECT *, {following} AS following FROM told) AS each
WHERE following > time + 1.5 * step * interval '1 second'
ORDER BY 1"""


def evenly(rows: str, labels: Sequence[str], values: Sequence[str]) -> str:
    """The rows, in the order of time, and one of NULLs for each interval of the panel that has none.

    For bars of what is rare, such as faults: a single one would be as wide as the panel lets it. `rows` is a statement
    that gives `time` (when an interval begins), the labels (texts) and the values (numbers); without any it stays so.
    """
    listed = ", ".join(("time", *labels, *values))
    nothing = ", ".join(f"NULL::float8 AS {name}" for name in values)
    begins = f"generate_series({BEGIN} / {INTERVAL_US} * {INTERVAL_US}, {END} - 1, {INTERVAL_US})"
    return f"""WITH told AS MATERIALIZED (
{rows}
)
SELECT {listed} FROM told
UNION ALL
SELECT empty.time, one.*, {nothing}
FROM (SELECT {as_time("begin")} AS time FROM {begins} AS begin EXCEPT SELECT time FROM told) AS empty
CROSS JOIN (SELECT {", ".join(labels)} FROM told LIMIT 1) AS one
ORDER BY 1"""
