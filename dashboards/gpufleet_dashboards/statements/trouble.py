"""What went wrong in the fleet: events counted, errors gained, what waits for a repair, versions that differ."""

from collections.abc import Sequence

from gpufleet_agent.catalogue import BY_NAME
from gpufleet_server.store.grafana.views.events import FAULT, GRAVE
from gpufleet_server.store.grafana.views.events import VIEW as EVENTS
from gpufleet_server.store.grafana.views.gpu_counts import VIEW as GPU_COUNTS
from gpufleet_server.store.grafana.views.gpus import VIEW as GPUS
from gpufleet_server.store.grafana.views.states import VIEW as STATES
from gpufleet_server.store.grafana.views.usage_places import VIEW as USAGE_PLACES
from gpufleet_server.store.grafana.views.xids import VIEW as XIDS

from gpufleet_dashboards import units
from gpufleet_dashboards.everything import PLACES_CHOSEN
from gpufleet_dashboards.links import to_gpu, to_node
from gpufleet_dashboards.query import TIME, Query, moment, number, text
from gpufleet_dashboards.scale import SEVERITY_COLOURS, words
from gpufleet_dashboards.sql import END, INTERVAL_MS, INTERVAL_US, as_time, begun, chosen, likely, within

_MOST = 50
# A GPU that falls off the bus tells of it in several ways, within seconds.
_A_MINUTE_US = 60_000_000
_MINUTE = f"{EVENTS['at']} / {_A_MINUTE_US}"
# From this on, ranges are of more than some two days.
_FREQUENT_MS = 1_800_000
_PLACE = ("site", "model")
# What says that a board, or its memory, waits for somebody to do something.
_WAITING = (
    "remap_pending", "remap_failed", "remap_banks_no_spares", "retirement_pending", "sram_threshold_exceeded",
    "recovery_action",
)  # fmt: skip


def _told(columns: Sequence[str], where: str) -> str:
    """Columns of the events of what is chosen; those of a node have no model."""
    listed = ", ".join(EVENTS[name] for name in columns)
    return f"(SELECT {listed} FROM {EVENTS} WHERE {where} AND {_here()}) AS told"


def _here() -> str:
    """That an event lies in the range, and at a place that is chosen."""
    of_gpus, of_nodes = (f"{EVENTS['place_id']} = ANY (ARRAY({_places(*names)}))" for names in (_PLACE, _PLACE[:1]))
    here = f"{PLACES_CHOSEN} OR {of_gpus} OR {EVENTS['gpu_id']} IS NULL AND {of_nodes}"
    return f"{within(EVENTS)} AND ({here})"


def _places(*names: str) -> str:
    return f"SELECT {USAGE_PLACES['place_id']} FROM {USAGE_PLACES} WHERE {chosen(USAGE_PLACES, *names)}"


def counted() -> Query:
    """Events of an interval by their kind."""
    sql = f"""SELECT {as_time(f"slot * {INTERVAL_US}")} AS time, kind, events::float8 FROM (
  SELECT at / {INTERVAL_US} AS slot, {EVENTS["kind"]}, count(*) AS events
  FROM {_told(("at", "kind"), "true")} GROUP BY 1, 2
) AS slots ORDER BY 1"""
    return Query(sql, {"time": TIME, "kind": text(), "events": number(units.COUNT)})


def counted_by_advice() -> Query:
    """XIDs of an interval by the class of what to do about them."""
    sql = f"""SELECT {as_time(f"slot * {INTERVAL_US}")} AS time,
  coalesce({XIDS["class"]}, 'unknown') AS what_to_do, sum(events)::float8 AS events
FROM (
  SELECT at / {INTERVAL_US} AS slot, {EVENTS["code"]}, count(*) AS events
  FROM {_told(("at", "code"), f"{FAULT} AND {EVENTS['kind']} = 'xid'")} GROUP BY 1, 2
) AS slots LEFT JOIN {XIDS} USING ({XIDS["code"]}) GROUP BY 1, 2 ORDER BY 1"""
    return Query(sql, {"time": TIME, "what_to_do": text(), "events": number(units.COUNT)})


def xids() -> Query:
    """XIDs of the range by code, those with most GPUs first."""
    told = _told(("code", "gpu_id", "at"), f"{FAULT} AND {EVENTS['kind']} = 'xid'")
    # Numbers of GPUs are sorted code by code, which costs half of what a group for each code and GPU does.
    sql = f"""SELECT xid.code, known.xid_name, known.xid_class, known.xid_severity, xid.events, xid.gpus,
  {as_time("xid.at")} AS last
FROM (
  SELECT code, events, at, (SELECT count(DISTINCT gpu_id) FROM (SELECT unnest(gpu_ids) AS gpu_id) AS each) AS gpus
  FROM (
    SELECT code, count(*) AS events, max(at) AS at, array_agg(gpu_id) AS gpu_ids FROM {told} GROUP BY 1
  ) AS of_code
) AS xid
LEFT JOIN LATERAL (
  SELECT {EVENTS["xid_name"]}, {EVENTS["xid_class"]}, {EVENTS["xid_severity"]} FROM {EVENTS}
  WHERE {EVENTS["code"]} = xid.code AND {EVENTS["at"]} = xid.at AND {EVENTS["kind"]} = 'xid' LIMIT 1
) AS known ON true
ORDER BY xid.gpus DESC, xid.events DESC"""
    columns = {
        "code": number(units.PLAIN, "XID", width=60),
        "xid_name": text("What it is"),
        "xid_class": text("What to do", width=140),
        "xid_severity": text("Severity", values=words(SEVERITY_COLOURS), width=90),
        "events": number(units.COUNT, "Times", width=80),
        "gpus": number(units.COUNT, "GPUs", width=70),
        "last": moment("Last", units.AGO),
    }
    return Query(sql, columns)


def offenders(of_gpus: bool) -> Query:
    """GPUs, or nodes, with two faults or more in the range, the gravest first; what a minute brought is one."""
    key, shown = ("gpu_id", ("position", "model", "serial")) if of_gpus else ("node_id", ("site", "rack"))
    names = "".join(f"max({EVENTS[name]}) AS {name}, " for name in shown)
    hidden = ("node_uuid", "gpu") if of_gpus else ("node_uuid",)
    last = "".join(f", max({EVENTS[name]}) AS {name}" for name in hidden)
    # Where enough have grave ones again and again, others are not among the gravest: to count these costs half of it.
    sql = f"""WITH gravest AS MATERIALIZED (
  {_repeated(key, GRAVE)} ORDER BY count(*) DESC FETCH FIRST {2 * _MOST} ROWS WITH TIES
), most AS MATERIALIZED (
  SELECT key FROM gravest WHERE (SELECT count(*) FROM gravest) >= {_MOST}
  UNION ALL
  ({_repeated(key, f"(SELECT count(*) FROM gravest) < {_MOST}")}
  ORDER BY count(*) FILTER (WHERE {GRAVE}) DESC, count(*) DESC, 1 LIMIT {2 * _MOST})
), worst AS MATERIALIZED (
  SELECT key, count(DISTINCT {_MINUTE}) FILTER (WHERE {GRAVE}) AS grave, count(DISTINCT {_MINUTE}) AS faults
  FROM most JOIN {EVENTS} ON most.key = {EVENTS[key]} WHERE {_here()} AND {FAULT}
  GROUP BY 1 ORDER BY 2 DESC, 3 DESC, 1 LIMIT {_MOST}
)
SELECT max({EVENTS["node"]}) AS node, {names}grave, faults, count(DISTINCT {EVENTS["gpu_id"]}) AS gpus,
  string_agg(DISTINCT coalesce('XID ' || {EVENTS["code"]}, {EVENTS["kind"]}), ', ') AS which,
  {as_time(f"max({EVENTS['at']})")} AS last{last}
FROM worst JOIN {EVENTS} ON worst.key = {EVENTS[key]} WHERE {_here()} AND {FAULT}
GROUP BY worst.key, grave, faults ORDER BY grave DESC, faults DESC, worst.key"""
    place = {"position": number(units.PLAIN, "GPU", link=to_gpu(), width=60), "serial": text("Serial")}
    place |= {"model": text("Model"), "site": text("Site"), "rack": text("Rack")}
    columns = {
        "node": text("Node", link=to_node()),
        **{name: place[name] for name in shown},
        "grave": number(units.COUNT, "Grave", width=70),
        "faults": number(units.COUNT, "Faults", width=70),
        "gpus": number(units.COUNT, "GPUs", width=70, hidden=of_gpus),
        "which": text("Which", width=220),
        "last": moment("Last", units.AGO),
        **{name: text(hidden=True) for name in hidden},
    }
    return Query(sql, columns)


def _repeated(key: str, where: str) -> str:
    """Which had faults that are told in two minutes or more, of events for which a condition holds."""
    # Counted first: most have one, of which nothing need be divided.
    told = _told((key, "at", "code", "kind"), f"{EVENTS[key]} IS NOT NULL AND {FAULT} AND {where}")
    return f"""SELECT {key} AS key FROM {told}
  GROUP BY 1 HAVING count(*) > 1 AND min({EVENTS["at"]}) / {_A_MINUTE_US} < max({EVENTS["at"]}) / {_A_MINUTE_US}"""


def gained(metrics: Sequence[str], frequent: Sequence[str] = ()) -> Query:
    """By how much counters grew in an interval, all GPUs together; of these metrics, which count up for good.

    What a GPU had when it was first seen it did not gain. `stored > 0` and the names are what the index is of.
    `frequent` ones have so many values that they are told where intervals are short only.
    """
    rare = f"({INTERVAL_MS} < {_FREQUENT_MS} OR {_among(metrics)})"
    sql = f"""SELECT {begun(STATES["at"])} AS time, {STATES["metric"]} AS counter,
  sum(greatest({STATES["stored"]} - {STATES["stored_before"]}, 0))::float8 AS gained
FROM {STATES} WHERE {within(STATES)} AND {STATES["stored"]} > 0 AND {_among((*metrics, *frequent))}
  AND {rare} AND {likely(chosen(STATES, "site", "model"))} GROUP BY 1, 2 ORDER BY 1"""
    return Query(sql, {"time": TIME, "counter": text(), "gained": number(units.COUNT)})


def waiting() -> Query:
    """GPUs that wait for a reset, a reboot or another board at the end of the range, and since when.

    Not those that were gone by then: of a board that was replaced nothing says any more that it is well.
    """
    gone = f"""{STATES["gpu_id"]} IN (SELECT {GPUS["gpu_id"]} FROM {GPUS}
    WHERE {GPUS["removed"]} AND {GPUS["removed_at"]} < {as_time(END)})"""
    after = f"""(SELECT 1 FROM {STATES} AS later WHERE later.{STATES["gpu_id"]} = told.{STATES["gpu_id"]}
    AND later.{STATES["metric"]} = told.{STATES["metric"]} AND later.{STATES["at"]} > told.{STATES["at"]}
    AND later.{STATES["at"]} < {END} LIMIT 1) IS NULL"""
    sql = f"""WITH told AS MATERIALIZED (
  SELECT * FROM {STATES} WHERE {STATES["stored"]} > 0 AND {_among(_WAITING)} AND {STATES["at"]} < {END}
)
SELECT max({STATES["site"]}) AS site, max({STATES["node"]}) AS node, max({STATES["position"]}) AS position,
  max({STATES["model"]}) AS model, string_agg({STATES["metric"]}, ', ' ORDER BY {STATES["metric"]}) AS what,
  max({STATES["value"]}) FILTER (WHERE {STATES["metric"]} = 'recovery_action') AS recovery_action,
  min({STATES["ts"]}) AS since, max({STATES["node_uuid"]}) AS node_uuid, max({STATES["gpu"]}) AS gpu
FROM told WHERE {chosen(STATES, "site", "model")} AND {after} AND NOT {gone}
GROUP BY {STATES["gpu_id"]} ORDER BY since LIMIT 200"""
    columns = {
        "site": text("Site"),
        "node": text("Node", link=to_node()),
        "position": number(units.PLAIN, "GPU", link=to_gpu(), width=60),
        "model": text("Model"),
        "what": text("What is so", width=320),
        "recovery_action": number(units.PLAIN, "The driver asks for", width=140),
        "since": moment("Since", units.AGO),
        "node_uuid": text(hidden=True),
        "gpu": text(hidden=True),
    }
    return Query(sql, columns)


def drift(column: str, title: str) -> Query:
    """Versions of models that have more than one, GPUs that nodes have; a count by `column` is called so too."""
    view = GPU_COUNTS
    sql = f"""SELECT model, version, gpus, nodes, gpus / sum(gpus) OVER (PARTITION BY model) AS share FROM (
  SELECT {view["model"]} AS model, {view[column]} AS version, sum({view["gpus"]})::float8 AS gpus,
    sum({view["nodes"]}) AS nodes, count(*) OVER (PARTITION BY {view["model"]}) AS versions
  FROM {view} WHERE {view["what"]} = '{column}' AND {chosen(view, "site", "model")} GROUP BY 1, 2
) AS each WHERE versions > 1 ORDER BY model, gpus DESC"""
    columns = {
        "model": text("Model"),
        "version": text(title),
        "gpus": number(units.COUNT, "GPUs", width=90),
        "nodes": number(units.COUNT, "Nodes", width=90),
        "share": number(units.SHARE, "Of the model", decimals=1, width=110),
    }
    return Query(sql, columns)


def _among(metrics: Sequence[str]) -> str:
    return f"{STATES['metric']} IN ({', '.join(repr(BY_NAME[name].name) for name in metrics)})"
