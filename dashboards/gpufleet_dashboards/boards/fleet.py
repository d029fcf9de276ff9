"""The board *Fleet*: how many GPUs there are, how many are well and at work, and what is worst."""

from gpufleet_server.store.grafana.views.alerts import VIEW as ALERTS
from gpufleet_server.store.grafana.views.gpus import VIEW as GPUS
from gpufleet_server.store.grafana.views.nodes import VIEW as NODES

from gpufleet_dashboards import units
from gpufleet_dashboards.board import Board, Row
from gpufleet_dashboards.kinds import Lines, Stat, Table
from gpufleet_dashboards.links import to_board, to_gpu, to_node, to_place
from gpufleet_dashboards.panel import Panel
from gpufleet_dashboards.query import TIME, Column, Query, metric, moment, number, text
from gpufleet_dashboards.scale import (
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SEVERITY_COLOURS,
    USE_COLOURS,
    YELLOW,
    steps,
    words,
)
from gpufleet_dashboards.sql import PLACE_CHOSEN, chosen
from gpufleet_dashboards.statements.counts import counted
from gpufleet_dashboards.statements.fleet import OBSERVED, Sum, in_use, over_time
from gpufleet_dashboards.statements.standing import AILING, COUNTED, COUNTED_NOW, USED, WATTS, gpus_in
from gpufleet_dashboards.variables import MODEL, SITE

_ROWS = 100
_STATE_COLOURS = {
    "reporting": GREEN,
    "in_maintenance": YELLOW,
    "lost": RED,
    "driver_failed": PURPLE,
    "not_reporting": GREY,
}
_GPUS = number(units.COUNT, decimals=0)


def _count(title: str, description: str, sql: str, board: str) -> Panel:
    return Panel(
        kind=Stat(coloured=False),
        title=title,
        description=description,
        unit=units.COUNT,
        query=Query(sql, {"gpus": _GPUS}),
        links=(to_board(f"To {board}", board),),
        w=4,
        h=4,
    )


_NOW = Row(
    "At the end of the range",
    (
        _count(
            "Owned",
            "GPUs that nodes have, however they are: those of silent nodes too, for nobody said that they are gone. "
            "Counted once a minute, the last time before the end of the range.",
            f"WITH counted AS ({COUNTED}) SELECT sum(gpus) AS gpus FROM counted",
            "inventory",
        ),
        _count(
            "Reporting",
            "GPUs whose node reports and whose driver answers. What is missing to *Owned* is silent, lost, in "
            "maintenance or has a driver that fails: silent is not idle. Counted once a minute.",
            f"WITH counted AS ({COUNTED}) SELECT sum(CASE WHEN state = 'reporting' THEN gpus ELSE 0 END) AS gpus "
            "FROM counted",
            "health",
        ),
        _count(
            "Healthy now",
            "GPUs that report now, whatever range is shown, and have no critical alert that fires, nor has their node. "
            "Which GPUs had which state is not kept: compare it with *Reporting* of a range that ends now. It is as "
            "good as the rules are: with alerts off it is the same as *Reporting*.",
            f"WITH counted AS ({COUNTED_NOW}), ailing AS ({AILING}) "
            "SELECT sum(CASE WHEN state = 'reporting' THEN gpus ELSE 0 END) "
            "- coalesce((SELECT sum(gpus) FROM ailing), 0) AS gpus FROM counted",
            "health",
        ),
        _count(
            "Active",
            "GPUs on which something ran, the mean of the last whole minute. Of GPUs that report: silent ones are "
            "not in it, and nodes that report less often than once a minute may be missing.",
            f"WITH used AS ({USED}) SELECT {gpus_in('active')} AS gpus FROM used",
            "waste",
        ),
        _count(
            "Held idle",
            "GPUs on which nothing ran, but a process or its memory kept others away; the mean of the last whole "
            "minute. Short breaks between steps of a job count too: look at hours to tell waste.",
            f"WITH used AS ({USED}) SELECT {gpus_in('held')} AS gpus FROM used",
            "waste",
        ),
        Panel(
            kind=Stat(coloured=False),
            title="Power",
            description="What the boards draw together, the mean of the last whole minute. Of GPUs that told their "
            "power alone; CPUs, fans and power supplies are not in it.",
            unit=units.WATT,
            query=Query(
                f"WITH used AS ({USED}) SELECT {WATTS} AS power FROM used",
                {"power": metric("power")},
            ),
            w=4,
            h=4,
            links=(to_board("To energy", "energy"),),
        ),
    ),
)

_THIS_PLACE = to_place("fleet")
_CHOSEN = ", ".join(f"{value} AS {name}" for name, value in PLACE_CHOSEN.items())


def _standing(counted: str) -> str:
    reporting = "sum(CASE WHEN state = 'reporting' THEN gpus ELSE 0 END) AS reporting"
    return f"SELECT site, model, sum(gpus) AS owned, {reporting} FROM {counted} GROUP BY site, model"


_BY_PLACE = f"""WITH counted AS ({COUNTED}), now AS ({COUNTED_NOW}), ailing AS ({AILING}), used AS ({USED}),
states AS ({_standing("counted")}),
well AS (
  SELECT site, model, owned, reporting - coalesce(gpus, 0) AS healthy
  FROM ({_standing("now")}) AS standing LEFT JOIN ailing USING (site, model)
), uses AS (
  SELECT site, model, {gpus_in("active")} AS active, {gpus_in("held")} AS held,
    {WATTS} AS power
  FROM used GROUP BY site, model
)
SELECT site, model, states.owned, reporting, healthy, active, held, power, {_CHOSEN}
FROM states LEFT JOIN well USING (site, model) LEFT JOIN uses USING (site, model)
ORDER BY coalesce(well.owned - healthy, 0) DESC, site, model LIMIT 500"""
_PLACES = Row(
    "By site and model",
    (
        Panel(
            kind=Table(),
            title="Sites and models",
            description="The figures above for each site and model, those with most GPUs that are not well now "
            "first. Empty fields: nothing was told in the last whole minute, which is not 0. Healthy is of now, "
            "whatever range is shown; the others are of its end.",
            unit=units.COUNT,
            query=Query(
                _BY_PLACE,
                {
                    "site": text("Site", link=_THIS_PLACE),
                    "model": text("Model", link=_THIS_PLACE),
                    "owned": number(units.COUNT, "Owned", decimals=0),
                    "reporting": number(units.COUNT, "Reporting", decimals=0),
                    "healthy": number(units.COUNT, "Healthy now", decimals=0),
                    "active": number(units.COUNT, "Active", decimals=1),
                    "held": number(units.COUNT, "Held idle", decimals=1),
                    "power": metric("power", "Power"),
                    **dict.fromkeys(PLACE_CHOSEN, text(hidden=True)),
                },
            ),
            w=24,
            h=8,
        ),
    ),
)

_OVER_TIME = Row(
    "Over time",
    (
        Panel(
            kind=Lines(stacked=True),
            title="GPUs by state",
            description="GPUs that nodes had, by state; the mean of each interval. Counted once a minute while a "
            "server runs: without one, nothing is drawn. Of old times only full hours are kept.",
            unit=units.COUNT,
            query=Query(counted("state"), {"time": TIME, "state": text(), "gpus": _GPUS}),
            colours=_STATE_COLOURS,
            w=12,
            h=8,
        ),
        Panel(
            kind=Lines(stacked=True),
            title="GPUs by use",
            description="GPUs by what they did, as GPU-time observed in an interval through its length. The height "
            "is how many were observed, not how many are owned: what was not reported is missing, and comes later "
            "from agents that were cut off.",
            unit=units.COUNT,
            query=Query(in_use(), {"time": TIME, "use": text(), "gpus": number(units.COUNT, decimals=1)}),
            colours=USE_COLOURS,
            links=(to_board("Utilisation and waste", "waste"),),
            w=12,
            h=8,
        ),
        Panel(
            kind=Lines(),
            title="Active, by site",
            description="Share of the observed GPU-time in which something ran. A GPU that is active is not busy: it "
            "may run one small kernel. Sites whose GPUs are mostly silent are judged by the few that report.",
            unit=units.PERCENT,
            query=Query(
                over_time(
                    ("site",),
                    {**OBSERVED, "active": Sum("gpu_seconds", ("active",))},
                    {"active": "100 * coalesce(sum(active), 0) / nullif(sum(gpu_seconds), 0)"},
                ),
                {"time": TIME, "site": text(), "active": number(units.PERCENT)},
            ),
            low=0,
            high=100,
            points=150,
            w=8,
            h=8,
        ),
        Panel(
            kind=Lines(stacked=True),
            title="Power, by site",
            description="Power of the boards of GPUs that told it, the mean of each interval. GPUs that were silent "
            "draw power too, and are not in it: where none told it, a line ends.",
            unit=units.WATT,
            query=Query(
                over_time(
                    ("site",),
                    {name: Sum(name) for name in ("power_sum", "power_seconds")},
                    {"power": "CASE WHEN sum(power_seconds) > 0 THEN sum(power_sum) END / nullif(seconds, 0)"},
                ),
                {"time": TIME, "site": text(), "power": metric("power")},
            ),
            links=(to_board("Energy", "energy"),),
            points=150,
            w=8,
            h=8,
        ),
        Panel(
            kind=Lines(stacked=True),
            title="Owned, by model",
            description="GPUs that nodes had, by model; an interval's mean of counts, over a month one of six hours."
            " A GPU counts until its node reports "
            "without it: those of nodes that were switched off for good stay until they are removed.",
            unit=units.COUNT,
            query=Query(counted("model"), {"time": TIME, "model": text(), "gpus": number(units.COUNT, decimals=0)}),
            links=(to_board("Inventory", "inventory"),),
            points=150,
            w=8,
            h=8,
        ),
    ),
)

_SEVERITY = text("Severity", values=words(SEVERITY_COLOURS), width=90)
_NODE = text("Node", link=to_node(), width=200)
_UUID = text(hidden=True)
_OPEN = f"""SELECT {ALERTS["severity"]}, {ALERTS["fired_at"]}, {ALERTS["rule"]}, {ALERTS["text"]}, {ALERTS["site"]},
  {ALERTS["node"]}, {ALERTS["position"]}, {ALERTS["node_uuid"]}, {ALERTS["gpu"]}
FROM {ALERTS} WHERE {ALERTS["state"]} = 'firing' AND {chosen(ALERTS, "site")}
  AND ({chosen(ALERTS, "model")} OR {ALERTS["gpu"]} IS NULL)
ORDER BY CASE {ALERTS["severity"]} WHEN 'critical' THEN 0 WHEN 'warning' THEN 1 ELSE 2 END, {ALERTS["fired"]} DESC
LIMIT {_ROWS}"""
_BAD = f"{GPUS['state']} IN ('lost', 'driver_failed')"
# Whose GPUs to look at is told first: to find the states of all takes ten times as long.
_BROKEN = f"""WITH bad AS MATERIALIZED (
  SELECT {NODES["node_id"]} FROM {NODES} WHERE {NODES["state"]} = 'driver_failed'
  UNION SELECT {GPUS["node_id"]} FROM {GPUS} WHERE {GPUS["lost"]}
)
SELECT {GPUS["state"]}, {GPUS["site"]}, {GPUS["rack"]}, {GPUS["node"]}, {GPUS["position"]},
  {GPUS["model"]}, {GPUS["serial"]}, {GPUS["node_last_seen"]}, {GPUS["node_uuid"]}, {GPUS["gpu"]}
FROM {GPUS} WHERE {_BAD} AND {GPUS["node_id"]} IN (SELECT node_id FROM bad) AND {chosen(GPUS, "site", "model")}
ORDER BY {GPUS["state"]} DESC, {GPUS["site"]}, {GPUS["node"]}, {GPUS["position"]} LIMIT {_ROWS}"""
_SILENT = f"""SELECT {NODES["site"]}, {NODES["rack"]}, {NODES["node"]}, {NODES["gpus"]}, {NODES["last_seen"]},
  {NODES["driver_detail"]}, {NODES["node_uuid"]}
FROM {NODES} WHERE {NODES["state"]} = 'not_reporting' AND {chosen(NODES, "site")}
ORDER BY {NODES["last_seen"]} DESC LIMIT {_ROWS}"""


def _worst(title: str, description: str, sql: str, returns: dict[str, Column], w: int) -> Panel:
    return Panel(
        kind=Table(),
        title=title,
        description=description,
        unit=units.COUNT,
        query=Query(sql, returns),
        w=w,
        h=9,
        nothing="none",
    )


_WORST = Row(
    "Worst first",
    (
        _worst(
            "Open alerts",
            f"Alerts that fire now, whatever range is shown: the most severe first, then the newest; {_ROWS} at most. "
            "Those that a silence or another alert holds back are there too.",
            _OPEN,
            {
                "severity": _SEVERITY,
                "fired_at": moment("Fired", units.AGO, width=130),
                "rule": text("Rule", width=180, link=to_board("Alerts", "alerts")),
                "text": text("What is wrong"),
                "site": text("Site", width=110),
                "node": _NODE,
                "position": number(units.PLAIN, "GPU", link=to_gpu(), width=60),
                "node_uuid": _UUID,
                "gpu": _UUID,
            },
            24,
        ),
        _worst(
            "GPUs that are gone from the bus, or whose driver fails",
            f"GPUs that their driver lost, and those of nodes whose driver does not answer, now; {_ROWS} at most. A "
            "GPU of a silent node may be lost and is not here: nobody looks at it.",
            _BROKEN,
            {
                "state": text("State", values=words(_STATE_COLOURS), width=110),
                "site": text("Site", width=110),
                "rack": text("Rack", width=70),
                "node": text("Node", link=to_node(), width=150),
                "position": number(units.PLAIN, "GPU", link=to_gpu(), width=60),
                "model": text("Model"),
                "serial": text("Serial"),
                "node_last_seen": moment("Node last seen", units.AGO),
                "node_uuid": _UUID,
                "gpu": _UUID,
            },
            14,
        ),
        _worst(
            "Silent nodes",
            f"Nodes that do not report now, whatever GPUs they have, the last to fall silent first; {_ROWS} at "
            "most. Whether they are off, cut off or without an agent is not known; what they did is told "
            "when they are back.",
            _SILENT,
            {
                "site": text("Site", width=110),
                "rack": text("Rack", width=70),
                "node": _NODE,
                "gpus": number(units.COUNT, "GPUs", width=60, steps=steps(ORANGE)),
                "last_seen": moment("Last seen", units.AGO),
                "driver_detail": text("Driver"),
                "node_uuid": _UUID,
            },
            10,
        ),
    ),
)

BOARD = Board(
    name="fleet",
    title="gpufleet: Fleet",
    description="How many GPUs there are, how many are well and at work, at what power, and what is worst.",
    variables=(SITE, MODEL),
    rows=(_NOW, _PLACES, _OVER_TIME, _WORST),
)
