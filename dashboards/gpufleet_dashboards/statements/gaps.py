"""Ends lines where nothing was told: Grafana draws one from value to value unless a NULL is between them."""

from collections.abc import Sequence


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
