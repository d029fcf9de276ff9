"""Alerts: what fires and waits for somebody, what comes again, how long it takes, and what to do."""

from gpufleet_server.alerts.export.runbooks import page

from gpufleet_dashboards import units
from gpufleet_dashboards.board import Board, Row
from gpufleet_dashboards.kinds import Columns, Kind, Lines, Stat, Table, Words
from gpufleet_dashboards.links import to_gpu, to_node
from gpufleet_dashboards.panel import Panel
from gpufleet_dashboards.query import TIME, Column, Query, moment, number, text
from gpufleet_dashboards.scale import BLUE, GREEN, ORANGE, RED, SEVERITY_COLOURS, YELLOW, steps, words
from gpufleet_dashboards.statements import alerting
from gpufleet_dashboards.variables import ANY_SITE

# This board has no models to choose from.
_KEEPS = ("datasource", "site")
_NODE, _GPU = to_node(keeps=_KEEPS), to_gpu(keeps=_KEEPS)
_OF_SEVERITY = {
    "critical": steps(GREEN, (1, RED)),
    "warning": steps(GREEN, (1, ORANGE)),
    "info": steps(GREEN, (1, BLUE)),
}
_COLOURS = {name: SEVERITY_COLOURS[name] for name in alerting.SEVERITIES}
_SEVERITY = text("Severity", values=words(SEVERITY_COLOURS), width=90)
_COUNT = number(units.COUNT, decimals=0)
# Days are what somebody should have looked at.
_AGES = steps(GREEN, (86_400, YELLOW), (7 * 86_400, ORANGE))
_WHERE = {
    "site": text("Site"),
    "rack": text("Rack"),
    "node": text("Node", link=_NODE),
    "position": number(units.PLAIN, "GPU", link=_GPU, width=70),
}
_KEYS = {"node_uuid": text(hidden=True), "gpu": text(hidden=True)}


def _panel(
    kind: Kind, title: str, description: str, query: Query, w: int, h: int, unit: str = units.COUNT, nothing: str = ""
) -> Panel:
    return Panel(
        kind=kind, title=title, description=description, unit=unit, query=query, w=w, h=h, nothing=nothing, finest="1m",
        colours=_COLOURS if isinstance(kind, Columns) else {},
    )  # fmt: skip


def _lines(title: str, description: str, query: Query, kind: Lines, w: int, unit: str = units.COUNT) -> Panel:
    return Panel(
        kind=kind, title=title, description=description, unit=unit, query=query, w=w, h=8, finest="1m", points=200,
        colours=_COLOURS if "severity" in query.returns else {}, nothing="none",
    )  # fmt: skip


_NOW = Row(
    "Now, whatever range is shown",
    (
        _panel(
            Stat(), "Firing",
            "Alerts that fire now, by severity: acknowledged and held back ones too. No alert is no proof of health:"
            " rules see only what nodes report, and a node that is silent has one alert for all that may be wrong.",
            Query(alerting.by_severity(), {
                name: number(units.COUNT, name, steps=colours) for name, colours in _OF_SEVERITY.items()
            }), 8, 5,
        ),
        _panel(
            Stat(), "Seen to",
            "Of those that fire: open ones, which nobody has acknowledged and of which somebody is told; acknowledged"
            " ones; and ones that are held back by a silence, by maintenance or by an alert that explains them."
            " Acknowledged is not mended.",
            Query(alerting.attention(), {
                "open": number(units.COUNT, "Open", steps=steps(GREEN, (1, RED))),
                "acknowledged": number(units.COUNT, "Acknowledged"),
                "held": number(units.COUNT, "Held back"),
            }), 8, 5,
        ),
        _panel(
            Columns(stacked=True), "By site",
            "Alerts that fire now by site and severity, the 30 sites with most. A large site has more of them than a"
            " small one that is as well; (none) is of alerts that are of no site, as those of gpufleet itself.",
            Query(alerting.by_site(), {
                "site": text(), **{name: number(units.COUNT, name) for name in alerting.SEVERITIES},
            }), 8, 5, nothing="none fires",
        ),
        _panel(
            Table(filterable=True), "What fires",
            "The gravest first, of these the oldest; the first 200. `Fires for` counts from when it fired, which is"
            " after the time that its rule waits: it held longer. What to do is at the end of this board.",
            Query(alerting.firing(), {
                "severity": _SEVERITY, "rule": text("Rule", width=190), **_WHERE,
                "what": text("What is wrong", width=420),
                "age": number(units.SECONDS, "Fires for", steps=_AGES, width=110),
                "fired_at": moment("Fired", width=180),
                "acknowledged_by": text("Acknowledged by"), "held_by": text("Held back by"), **_KEYS,
            }), 24, 11, nothing="none fires",
        ),
    ),
)  # fmt: skip

_TIMES = Row(
    "Over time",
    (
        _lines(
            "Firing, by severity",
            "How many alerts fired when each interval began. One that came and went between two beginnings is not in"
            " it: how many fired at all is beside it.",
            Query(alerting.over_time("severity"), {"time": TIME, "severity": text(), "alerts": _COUNT}),
            Lines(stacked=True), 8,
        ),
        _lines(
            "Firing, by site",
            "The same by site. A step of a whole site at once is mostly one cause: its network, its power, or a change"
            " of software.",
            Query(alerting.over_time("site"), {"time": TIME, "site": text(), "alerts": _COUNT}), Lines(stacked=True), 8,
        ),
        _lines(
            "Newly fired",
            "How many alerts fired within each interval. Longer intervals have higher bars: compare them within one"
            " range only. One that flaps counts each time.",
            Query(alerting.fired_over_time(), {"time": TIME, "severity": text(), "alerts": _COUNT}),
            Lines(stacked=True, bars=True), 8,
        ),
    ),
)  # fmt: skip

_AGAIN = Row(
    "What comes again, in the range",
    (
        _panel(
            Table(), "Rules",
            "Rules that fired in the range or fire now. Times are from firing to being resolved; an alert that still"
            " fires counts as lasting until now: where some are firing, the times become longer yet. Acknowledged: of"
            " all these.",
            Query(alerting.by_rule(), {
                "severity": _SEVERITY, "rule": text("Rule", width=190),
                "fired": number(units.COUNT, "Fired", width=80), "firing": number(units.COUNT, "Firing", width=80),
                "nodes": number(units.COUNT, "Nodes", width=80),
                "median": number(units.SECONDS, "Half last less than", width=150),
                "longest": number(units.SECONDS, "Longest", width=110),
                "acknowledged": number(units.SHARE, "Acknowledged", decimals=0, width=120),
                "last": moment("Last", units.AGO),
            }), 13, 10, nothing="none fired",
        ),
        _panel(
            Table(), "Repeat offenders",
            "The 50 nodes and GPUs about which most fired in the range; an alert of a node counts for the node alone."
            " One that flaps is high up though little is wrong; one that is broken for good has a single alert.",
            Query(alerting.offenders(), {
                "site": text("Site"), "node": text("Node", link=_NODE),
                "position": number(units.PLAIN, "GPU", link=_GPU, width=60), "model": text("Model"), **_KEYS,
                "fired": number(units.COUNT, "Fired", width=70), "firing": number(units.COUNT, "Firing", width=70),
                "rules": number(units.COUNT, "Rules", width=70), "last": moment("Last", units.AGO),
            }), 11, 10, nothing="none fired",
        ),
    ),
)  # fmt: skip

_RESPONSE = Row(
    "How long it takes, in the range",
    (
        _panel(
            Stat(), "Times",
            "Of alerts that fired in the range: half were acknowledged, and half resolved, in less than this; nine in"
            " ten resolved. One that still fires counts as lasting until now, and as waiting until now where nobody"
            " acknowledged it: as long as some are, times are at least this. An alert that ends by itself is resolved"
            " too; those that ended, or are held back, without anybody having acknowledged them are not in the first.",
            Query(alerting.taken(), {
                "acknowledged": number(units.SECONDS, "Until acknowledged", decimals=1),
                "median": number(units.SECONDS, "Until resolved", decimals=1),
                "ninth": number(units.SECONDS, "Nine in ten resolved", decimals=1),
                "still": number(units.COUNT, "Still firing", decimals=0),
            }), 10, 4, units.SECONDS, "none",
        ),
        _panel(
            Stat(coloured=False), "Of those that fired",
            "How many fired in the range, and which shares of them are resolved by now, and were acknowledged by"
            " somebody. Few acknowledged may mean that most end by themselves.",
            Query(alerting.shares(), {
                "fired": number(units.COUNT, "Fired"),
                "resolved": number(units.SHARE, "Resolved", decimals=0),
                "acknowledged": number(units.SHARE, "Acknowledged", decimals=0),
            }), 7, 4,
        ),
        _panel(
            Table(), "Held back now",
            "Of what fires and nobody is told, why: an alert that explains it, a silence, or maintenance. What is held"
            " back for long hides what came in the meantime. gpufleet alerts silences tells more.",
            Query(alerting.held_back(), {
                "held_by": text("By"), "alerts": number(units.COUNT, "Alerts", width=80),
                "rules": number(units.COUNT, "Rules", width=70), "oldest": moment("Oldest", units.AGO),
            }), 7, 4, nothing="nothing is",
        ),
        _lines(
            "Until resolved",
            "Of the alerts that were resolved in each interval, half took less than this, by severity; those that still"
            " fire are in none. A day on which old ones are cleared away shows high, though it is a good one.",
            Query(alerting.resolving_over_time(), {
                "time": TIME, "severity": text(), "took": number(units.SECONDS),
            }), Lines(points=True), 24, units.SECONDS,
        ),
    ),
)  # fmt: skip


def _history() -> dict[str, Column]:
    return {
        "time": moment("Time", width=180, nullable=False), "change": text("Change", width=110), "who": text("Who"),
        "said": text("Said", width=300), "severity": _SEVERITY, "rule": text("Rule", width=190), "site": text("Site"),
        "node": text("Node", link=_NODE), "position": number(units.PLAIN, "GPU", link=_GPU, width=70), **_KEYS,
    }  # fmt: skip


_PAST = Row(
    "History",
    (
        _panel(
            Table(filterable=True), "Changes",
            "What became of alerts in the range, the newest 200: they fired, were held back, acknowledged, resolved,"
            " and by whom. gpufleet alerts history tells all of one.",
            Query(alerting.history(), _history()), 24, 11, nothing="no changes",
        ),
    ),
)  # fmt: skip

_RUNBOOKS = Row(
    "What to do: the runbook of each rule",
    (
        Panel(
            kind=Words(page()), title="Runbooks",
            description="What each rule means and what to do about it, as of the release that this board is of.",
            unit="", query=None, w=24, h=20,
        ),
    ),
    collapsed=True,
)  # fmt: skip

BOARD = Board(
    name="alerts",
    title="gpufleet: Alerts",
    description="What fires now and waits for somebody, what comes again and again, how long it takes, and what to do.",
    variables=(ANY_SITE,),
    rows=(_NOW, _TIMES, _AGAIN, _RESPONSE, _PAST, _RUNBOOKS),
    range="now-7d",
)
