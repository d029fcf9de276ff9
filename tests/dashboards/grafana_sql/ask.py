"""A query asked as Grafana asks it: expanded, sent as one simple message, and made a frame."""

from typing import Any

from psycopg import Connection

from tests.dashboards.grafana_sql.frames import Frame, framed
from tests.dashboards.grafana_sql.front import Asked, replaced
from tests.dashboards.grafana_sql.macros import UNASKED, Expanded, expanded


def sql(text: str, asked: Asked) -> Expanded:
    """What the database is asked. MacroError, FormatError."""
    return expanded(replaced(text, asked), asked.range, asked.interval or UNASKED)


def ask(connection: Connection[Any], text: str, form: str, asked: Asked) -> Frame:
    """The frame that a panel gets; `form` is `table` or `time_series`. psycopg.Error, MacroError, FrameError."""
    query = sql(text, asked)
    # Without parameters psycopg sends a simple query, as Grafana does: several statements, all values as text.
    cursor = connection.execute(query.sql.encode())
    while cursor.description is None and cursor.nextset():
        pass
    if cursor.description is None:
        return Frame([])
    columns = [(column.name, column.type_code) for column in cursor.description]
    return framed(columns, cursor.fetchall(), form, asked.range, query.fill)
