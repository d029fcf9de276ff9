"""Facts, events and alerts as tables, and as marks in graphs."""

from collections.abc import Mapping

from gpufleet_server.store.grafana.view import View
from gpufleet_server.store.grafana.views.alerts import VIEW as ALERTS
from gpufleet_server.store.grafana.views.events import VIEW as EVENTS

from gpufleet_dashboards import units
from gpufleet_dashboards.links import Link, to_gpu, to_node
from gpufleet_dashboards.query import TIME, Query, moment, number, text
from gpufleet_dashboards.scale import SEVERITY_COLOURS, words
from gpufleet_dashboards.sql import BEGIN, END, within

# Of most boards nobody reads more.
_MOST = 200


def facts(view: View, where: str, told: Mapping[str, str]) -> Query:
    """What is told of the one row of a view for which a condition holds, a row each: names, and texts in SQL."""
    rows = ", ".join(f"({number}, '{name}', {value})" for number, (name, value) in enumerate(told.items()))
    sql = f"""SELECT fact.name, fact.value FROM {view}
CROSS JOIN LATERAL (VALUES {rows}) AS fact (number, name, value)
WHERE {where} ORDER BY fact.number"""
    return Query(sql, {"name": text("What", width=190), "value": text("Now")})


def events(where: str, node: Link | None = None, gpu: Link | None = None) -> Query:
    """The newest events of the range for which a condition on `events` holds."""
    sql = f"""SELECT {EVENTS["ts"]} AS time, {EVENTS["node"]}, {EVENTS["position"]}, {EVENTS["model"]},
  {EVENTS["kind"]}, {EVENTS["code"]}, {EVENTS["xid_class"]}, {EVENTS["xid_severity"]} AS severity,
  concat_ws(': ', {EVENTS["xid_name"]}, nullif({EVENTS["message"]}, '')) AS what,
  {EVENTS["source"]}, {EVENTS["node_uuid"]}, {EVENTS["gpu"]}
FROM {EVENTS} WHERE {within(EVENTS)} AND {where} ORDER BY {EVENTS["at"]} DESC LIMIT {_MOST}"""
    columns = {
        "time": moment("Time", width=180, nullable=False),
        "node": text("Node", link=node),
        "position": number(units.PLAIN, "GPU", link=gpu, width=70),
        "model": text("Model"),
        "kind": text("Event"),
        "code": number(units.PLAIN, "Code", width=70),
        "xid_class": text("What to do", width=140),
        "severity": text("Severity", values=words(SEVERITY_COLOURS), width=90),
        "what": text("What", width=420),
        "source": text("Source"),
        "node_uuid": text(hidden=True),
        "gpu": text(hidden=True),
    }
    return Query(sql, columns)


def marks(where: str) -> Query:
    """The same as marks in graphs."""
    sql = f"""SELECT {EVENTS["ts"]} AS time, concat_ws(' ', 'GPU ' || {EVENTS["position"]}, {EVENTS["kind"]},
  {EVENTS["code"]}, {EVENTS["xid_name"]}, nullif({EVENTS["message"]}, '')) AS text, {EVENTS["kind"]} AS tags
FROM {EVENTS} WHERE {within(EVENTS)} AND {where} ORDER BY {EVENTS["at"]} DESC LIMIT {_MOST}"""
    return Query(sql, {"time": TIME, "text": text(), "tags": text()})


def alerts(where: str, node: Link | None = None, gpu: Link | None = None) -> Query:
    """Alerts that fired and were not over before the range; those that still fire first, the gravest first."""
    firing, over = f"{ALERTS['state']} = 'firing'", f"{ALERTS['state']} <> 'firing' AND {ALERTS['resolved']} >= {BEGIN}"
    gravest = f"array_position(ARRAY['critical', 'warning', 'info'], {ALERTS['severity']})"

    def select(which: str, order: str) -> str:
        return f"""(SELECT * FROM {ALERTS} WHERE {ALERTS["fired"]} < {END} AND {which} AND {where}
ORDER BY {order} LIMIT {_MOST})"""

    sql = f"""SELECT {ALERTS["severity"]}, {ALERTS["state"]}, {ALERTS["rule"]}, {ALERTS["node"]}, {ALERTS["position"]},
  {ALERTS["text"]} AS what, {ALERTS["fired_at"]}, {ALERTS["resolved_at"]}, {ALERTS["acknowledged_by"]},
  {ALERTS["held_by"]}, {ALERTS["node_uuid"]}, {ALERTS["gpu"]}
FROM ({select(firing, f"{gravest}, {ALERTS['fired']} DESC")}
UNION ALL {select(over, f"{ALERTS['fired']} DESC")}) AS alerts
ORDER BY {ALERTS["state"]} <> 'firing', {gravest}, {ALERTS["fired"]} DESC LIMIT {_MOST}"""
    columns = {
        "severity": text("Severity", values=words(SEVERITY_COLOURS), width=90),
        "state": text("State", width=90),
        "rule": text("Rule", width=190),
        "node": text("Node", link=node),
        "position": number(units.PLAIN, "GPU", link=gpu, width=70),
        "what": text("What is wrong", width=420),
        "fired_at": moment("Fired", width=180),
        "resolved_at": moment("Resolved", width=180),
        "acknowledged_by": text("Acknowledged by"),
        "held_by": text("Held back by"),
        "node_uuid": text(hidden=True),
        "gpu": text(hidden=True),
    }
    return Query(sql, columns)


# Where the node and the GPU are those of the row.
TO_NODE, TO_GPU = to_node(), to_gpu()
