"""Health: what went wrong, where again and again, what waits for somebody, and what differs."""

from gpufleet_server.store.grafana.views.alerts import VIEW as ALERTS

from gpufleet_dashboards import units
from gpufleet_dashboards.board import Board, Row
from gpufleet_dashboards.kinds import Lines, Stat, Table
from gpufleet_dashboards.links import to_board, to_gpu, to_node
from gpufleet_dashboards.panel import Panel
from gpufleet_dashboards.query import TIME, Query, Type, metric, moment, number, text
from gpufleet_dashboards.scale import GREEN, ORANGE, RED, SEVERITY_COLOURS, YELLOW, steps, words
from gpufleet_dashboards.sql import chosen, likely
from gpufleet_dashboards.statements import flags, listed, trouble
from gpufleet_dashboards.statements.fleet import OWNED, Sum, flags_seen, over_time
from gpufleet_dashboards.statements.gaps import evenly
from gpufleet_dashboards.statements.standing import COUNTED
from gpufleet_dashboards.variables import MODEL, SITE

_BAD = {"lost": "Lost", "driver_failed": "Driver failed", "not_reporting": "Not reporting"}
_UNCORRECTED = ("ecc_sram_uncorrected", "ecc_dram_uncorrected")
_CORRECTED = ("ecc_sram_corrected", "ecc_dram_corrected")
_REMAPPED = (
    "remapped_rows_correctable", "remapped_rows_uncorrectable", "retired_pages_single_bit", "retired_pages_double_bit",
)  # fmt: skip
_HELD = {
    "clocks_held_by_power": ("Clocks held down by a power limit", "A busy GPU runs into it: that is no fault."),
    "clocks_held_by_heat": ("Clocks held down by heat", "More than a little is a matter of cooling."),
    "clocks_held_by_power_brake": (
        "Clocks held down by the power brake", "The rack's or the board's supply asked for it: it should be 0.",
    ),
}  # fmt: skip


def _open_alerts() -> str:
    """Of nodes and GPUs; an alert of a node has no model."""
    of_model = f"({ALERTS['gpu']} IS NULL OR {chosen(ALERTS, 'model')})"
    return likely(f"{ALERTS['node_uuid']} IS NOT NULL", chosen(ALERTS, "site"), of_model)


def _now() -> Query:
    states = ", ".join(f"coalesce(sum(gpus) FILTER (WHERE state = '{state}'), 0) AS {state}" for state in _BAD)
    sql = f"""WITH counted AS ({COUNTED}) SELECT {states} FROM counted HAVING count(*) > 0"""
    columns = {
        state: number(units.COUNT, title, decimals=0, steps=steps(GREEN, (1, RED))) for state, title in _BAD.items()
    }
    return Query(sql, columns)


def _severities() -> Query:
    counts = ", ".join(f"count(*) FILTER (WHERE {ALERTS['severity']} = '{each}') AS {each}" for each in _SEVERITIES)
    sql = f"SELECT {counts} FROM {ALERTS} WHERE {ALERTS['state']} = 'firing' AND {_open_alerts()}"
    return Query(sql, {name: number(units.COUNT, name, steps=colours) for name, colours in _SEVERITIES.items()})


_SEVERITIES = {
    "critical": steps(GREEN, (1, RED)),
    "warning": steps(GREEN, (1, ORANGE)),
    "info": steps(GREEN),
}


def _by_rule() -> Query:
    sql = f"""SELECT {ALERTS["severity"]}, {ALERTS["rule"]}, count(*) AS alerts,
  count(DISTINCT {ALERTS["node_uuid"]}) AS nodes, min({ALERTS["fired_at"]}) AS first
FROM {ALERTS} WHERE {ALERTS["state"]} = 'firing' AND {_open_alerts()} GROUP BY 1, 2
ORDER BY array_position(ARRAY['critical', 'warning', 'info'], {ALERTS["severity"]}), alerts DESC"""
    columns = {
        "severity": text("Severity", values=words(SEVERITY_COLOURS), width=90),
        "rule": text("Rule"),
        "alerts": number(units.COUNT, "Alerts", width=80),
        "nodes": number(units.COUNT, "Nodes", width=80),
        "first": moment("Oldest", units.AGO),
    }
    return Query(sql, columns)


def _held_down(name: str) -> Query:
    sums = {"total": Sum(f"{name}_sum"), "known": Sum(f"{name}_seconds")}
    sql = over_time(("model",), sums, {name: "sum(total) / nullif(sum(known), 0)"})
    return Query(sql, {"time": TIME, "model": text(), name: metric(name)})


def _told() -> Query:
    sums = {"known": Sum("clocks_held_by_heat_seconds")}
    share = f"CASE WHEN sum(owned) > 0 THEN least(1, coalesce(sum(known), 0) / (seconds * {OWNED})) END"
    return Query(over_time(("model",), sums, {"told": share}), {"time": TIME, "model": text(), "told": _SHARE})


_SHARE = number(units.SHARE)


def _reasons() -> Query:
    columns = {
        "model": text("Model"),
        "flag": text("Reason"),
        "seconds": number(units.SECONDS, "Seen for up to", width=130),
        "share": number(units.SHARE, "Of the time", decimals=1, width=110),
        "last": moment("Last", units.AGO),
    }
    return Query(flags_seen(flags.REASONS, flags.faults()), columns)


def _bars(title: str, description: str, query: Query, w: int) -> Panel:
    """Of what is rare, by interval."""
    sql = evenly(query.sql, query.of_type(Type.TEXT), query.of_type(Type.NUMBER))
    return Panel(
        kind=Lines(stacked=True, bars=True), title=title, description=description, unit=units.COUNT,
        query=Query(sql, query.returns), w=w, h=8, finest="1m", points=120,
    )  # fmt: skip


def _table(title: str, description: str, query: Query, w: int, h: int = 9) -> Panel:
    return Panel(kind=Table(), title=title, description=description, unit=units.COUNT, query=query, w=w, h=h)


_STANDING = Row(
    "Now",
    (
        Panel(
            kind=Stat(), title="GPUs that are not well",
            description="GPUs that fell off the bus; GPUs whose driver failed, hangs or is gone; GPUs of silent nodes,"
            " of which nobody knows how they are. Counted once a minute, the last time before the end of the range.",
            unit=units.COUNT, query=_now(), w=12, h=4, links=(to_board("To Fleet", "fleet"),),
            nothing="not counted",
        ),
        Panel(
            kind=Stat(), title="Open alerts of nodes and GPUs",
            description="Alerts that fire now, whatever range is shown. Those of racks, sites and of gpufleet itself"
            " are on the board of alerts. As good as the rules are: none is not a proof.",
            unit=units.COUNT, query=_severities(), w=12, h=4, links=(to_board("To Alerts", "alerts"),),
        ),
        _table(
            "Open alerts by rule",
            "What fires now on nodes and GPUs, by rule. Acknowledged ones and those that a silence holds back are in"
            " it.",
            _by_rule(), 9,
        ),
        _table(
            "Waiting for somebody",
            "GPUs with a row remap or page retirement that waits for a reset or reboot, a remap that failed, memory"
            " banks without spare rows, too many uncorrectable SRAM errors, or for which the driver asks for something"
            " (1 reset, 2 reboot of the node, 3 drain of peers, 4 drain and reset). As of the end of the range; the"
            " first two hundred.",
            trouble.waiting(), 15,
        ),
    ),
)  # fmt: skip

_EVENTS = Row(
    "Events",
    (
        _bars(
            "Events by kind",
            "All that nodes and GPUs told, by kind: faults, and news such as a roster that changed. Who does not"
            " report tells nothing, so few events are not always good.",
            trouble.counted(), 12,
        ),
        _bars(
            "XIDs by what to do",
            "XIDs by the class of what NVIDIA's catalogue says to do about them. Most restart_app come from programs,"
            " not from GPUs. One that NVML and the kernel log both told counts once; one GPU in a bad way can tell"
            " hundreds: the table says how many GPUs it was.",
            trouble.counted_by_advice(), 12,
        ),
        _table(
            "XIDs by code",
            "XIDs of the range. What to do is NVIDIA's first advice with this project's additions; the rules' runbooks"
            " say more. Sources disagree on some, such as 64 and 109.",
            trouble.xids(), 24,
        ),
        _table(
            "GPUs, again and again",
            "GPUs with two faults or more in the range: XIDs, and falls off the bus; what comes within a minute is"
            " one. Grave are those that are no mere end of a program. The count goes by the GPU in its node: after a"
            " swap the new board begins anew.",
            trouble.offenders(of_gpus=True), 12,
        ),
        _table(
            "Nodes, again and again",
            "Nodes with two faults or more in the range, those of their GPUs and of their driver together; what comes"
            " within a minute is one. Several GPUs of one node at once point to the node: power, cooling, board,"
            " driver.",
            trouble.offenders(of_gpus=False), 12,
        ),
    ),
)  # fmt: skip

_MEMORY = Row(
    "Memory",
    (
        _bars(
            "ECC errors gained",
            "By how much the counters of the boards' lives grew, all GPUs together. Corrected ones are the hardware's"
            " daily work, and one GPU can have millions; uncorrected ones end programs. Over more than some two days"
            " the uncorrected ones alone are told. Read about once a minute; GPUs without ECC, or with ECC off, tell"
            " none. What a GPU had when it was first seen is not counted.",
            trouble.gained(_UNCORRECTED, _CORRECTED), 12,
        ),
        _bars(
            "Rows remapped and pages retired",
            "Memory rows that were remapped (Ampere and newer), and pages that were retired (before), after errors. A"
            " row that was remapped is a repair; a board with many, or with a remap that failed, is to be replaced.",
            trouble.gained(_REMAPPED), 12,
        ),
    ),
)  # fmt: skip

_THROTTLING = Row(
    "Clocks held down",
    (
        *(
            Panel(
                kind=Lines(), title=title, w=8, h=8, unit=units.PERCENT, query=_held_down(name), low=0,
                points=150,
                description=f"Share of the observed GPU-time of a model, idle time too. {words_} Mean of all GPUs that"
                f" tell: one that is always slow does not show among thousands, but fires an alert.",
            )
            for name, (title, words_) in _HELD.items()
        ),
        Panel(
            kind=Lines(), title="Who tells",
            description="Share of the time of all GPUs of a model that is in samples which tell how long heat held the"
            " clocks down. All else of these graphs is of that share only.",
            unit=units.SHARE, query=_told(), w=10, h=8, points=120, low=0, high=1,
            steps=steps(RED, (0.9, YELLOW), (0.99, GREEN)),
        ),
        _table(
            "Heat, the hardware and the power brake",
            "In which share of the minutes (with wider ranges ten minutes, hours) any GPU of a model told such a"
            " reason, for however short a time. A large fleet always has one that is hot: the share grows with the"
            " number of GPUs.",
            _reasons(), 14, 8,
        ),
    ),
)  # fmt: skip

_DRIFT = Row(
    "What differs",
    tuple(
        _table(
            f"{title}, more than one of a model",
            "Models whose GPUs do not all have the same version, those that nodes have (silent ones: what they last"
            " told), as of at most a minute ago. Also while an update is under way. Models with one version are on the"
            " board Inventory.",
            trouble.drift(column, title), 12,
        )
        for column, title in (("driver", "Driver"), ("vbios", "VBIOS"))
    ),
)  # fmt: skip

_NEWEST = Row(
    "One by one",
    (
        _table(
            "Alerts",
            "Alerts of nodes and GPUs that fired and were not over before the range, those that still fire first; at"
            " most two hundred.",
            listed.alerts(_open_alerts(), to_node(), to_gpu()), 24, 10,
        ),
    ),
)  # fmt: skip

BOARD = Board(
    name="health",
    title="gpufleet: Health",
    description="What went wrong, where again and again, what waits for somebody, and what differs.",
    rows=(_STANDING, _EVENTS, _MEMORY, _THROTTLING, _DRIFT, _NEWEST),
    variables=(SITE, MODEL),
)
