"""gpufleet itself: what comes in, how far it is behind, what rules do, and what the database takes."""

from collections.abc import Mapping

from gpufleet_dashboards import units
from gpufleet_dashboards.board import Board, Row
from gpufleet_dashboards.kinds import Gauges, Kind, Lines, Stat, Table
from gpufleet_dashboards.links import to_node
from gpufleet_dashboards.panel import Panel
from gpufleet_dashboards.query import TIME, Column, Query, moment, number, text
from gpufleet_dashboards.scale import GREEN, ORANGE, RED, STATE_COLOURS, YELLOW, Step, steps, words
from gpufleet_dashboards.statements import serving
from gpufleet_dashboards.statements.fleet import COVERAGE, OBSERVED, over_time
from gpufleet_dashboards.statements.serving import Value, by_server, mean, most, of_all, rate, total
from gpufleet_dashboards.variables import ANY_SITE, MODEL

_NONE_IS_WELL = steps(GREEN, (1, ORANGE))
_SECONDS = number(units.SECONDS)
# What a column of sums and a count of the same name are.
_PER_SECOND = number(units.PER_SECOND, decimals=1)
_HOUR, _DAY = 3600, 86_400


def _series(values: Mapping[str, Value], column: Column, *, servers: bool = True) -> Query:
    """Values over time, of each server or of all."""
    sql = by_server(values) if servers else of_all(values)
    label = {"server": text()} if servers else {}
    return Query(sql, {"time": TIME, **label, **dict.fromkeys(values, column)})


def _lines(
    title: str, description: str, query: Query, unit: str, w: int = 8, kind: Lines | None = None, low: float | None = 0,
    points: int = 300,
) -> Panel:  # fmt: skip
    return Panel(
        kind=kind or Lines(), title=title, description=description, unit=unit, query=query, w=w, h=7, low=low,
        finest="1m", points=points,
    )  # fmt: skip


def _other(
    kind: Kind, title: str, description: str, query: Query, w: int, h: int, unit: str = units.COUNT, nothing: str = ""
) -> Panel:
    return Panel(kind=kind, title=title, description=description, unit=unit, query=query, w=w, h=h, nothing=nothing)


def _count(title: str, colours: tuple[Step, ...] = (), width: int = 100) -> Column:
    return number(units.COUNT, title, steps=colours, width=width)


_NOW = Row(
    "Now",
    (
        _other(
            Table(), "Servers",
            "Each server as it last told how it stands, every few seconds. One that was last heard of more than a"
            " minute ago hangs, or was killed. Waiting, failed and turned away are of the last moments. Sealing, which"
            " packs the day, is told by the server that does the upkeep alone; so is for how long there are"
            " partitions.",
            Query(serving.standing(), {
                "server": text("Server"), "started_ts": moment("Started", units.AGO),
                "seen_age": number(units.SECONDS, "Heard of ago", steps=steps(GREEN, (60, RED)), width=120),
                "queued_reports": _count("Reports wait", steps(GREEN, (1_000, ORANGE))),
                "waited_mean": number(units.SECONDS, "Waited", steps=steps(GREEN, (5, ORANGE)), width=90),
                "failed_commits": _count("Failed commits", _NONE_IS_WELL, 120),
                "turned_away": _count("Turned away", _NONE_IS_WELL),
                "sealing_overdue": number(
                    units.SECONDS, "Sealing behind", steps=steps(GREEN, (2 * _HOUR, ORANGE)), width=120
                ),
                "partitions_ahead": number(
                    units.SECONDS, "Partitions for", steps=steps(RED, (_DAY, GREEN)), width=120
                ),
                "receivers_failing": _count("Receivers fail", _NONE_IS_WELL, 110), "receiver": text("The worst"),
            }), 24, 6, nothing="no server has told how it stands",
        ),
        _other(
            Stat(), "Agents, of the chosen sites",
            "Nodes that were ever heard of; those that report; those that have reports waiting; those that gave reports"
            " up because their spool was full; those whose clock is off by more than a second, whose samples are put"
            " right by what the server measured. Waiting, given up and off are as the node last said: of one that is"
            " silent they are old.",
            Query(serving.agents(), {
                "nodes": number(units.COUNT, "Nodes"), "reporting": number(units.COUNT, "Report"),
                "behind": number(units.COUNT, "Lag behind", steps=_NONE_IS_WELL),
                "dropped": number(units.COUNT, "Gave reports up", steps=_NONE_IS_WELL),
                "off": number(units.COUNT, "Clock off", steps=_NONE_IS_WELL),
            }), 18, 4,
        ),
        _other(
            Stat(coloured=False), "Database",
            "What all tables and their indices take on disk, and how many partitions they have. What was deleted but"
            " not given back is in it; the log that PostgreSQL writes ahead is not.",
            Query(serving.size(), {
                "bytes": number(units.BYTES, "On disk"), "partitions": number(units.COUNT, "Partitions"),
            }), 6, 4, units.BYTES,
        ),
    ),
)  # fmt: skip

_INGEST = Row(
    "What comes in",
    (
        _lines(
            "Reports",
            "Reports stored, a second, by server. Agents spread over servers as they please: look at the sum. A drop to"
            " nothing with all agents alive is a matter of the network, or of the load balancer.",
            _series({"reports": rate("reports_stored")}, _PER_SECOND), units.PER_SECOND,
            kind=Lines(stacked=True),
        ),
        _lines(
            "Samples and values",
            "Samples of GPUs, and values of metrics in them, stored a second, by all servers. After an outage agents"
            " tell of what they kept: peaks then are no more GPUs.",
            _series({"samples": rate("samples"), "values": rate("values")}, _PER_SECOND, servers=False),
            units.PER_SECOND,
        ),
        _lines(
            "Traffic",
            "Bytes of reports received, a second, as they are compressed, by server. What is around them (TLS, HTTP)"
            " and what is answered is not in it.",
            _series({"bytes": rate("body_bytes")}, number(units.BYTES_PER_SECOND)), units.BYTES_PER_SECOND,
            kind=Lines(stacked=True),
        ),
        _lines(
            "Refused",
            "Reports that were not taken, in each interval, by all servers: for their credentials (a token that is"
            " wrong or was revoked), for what they hold (a bug, or another release), or for now (the server is too"
            " busy: agents come again, nothing is lost). Longer intervals have higher bars.",
            _series({
                "credentials": total("refused_credentials"), "content": total("refused_content"),
                "turned_away": total("turned_away"),
            }, number(units.COUNT, decimals=0), servers=False), units.COUNT, kind=Lines(stacked=True, bars=True),
        ),
        _lines(
            "Commits take",
            "How long commits of reports took, by server: the mean of those of an interval, and the longest. The"
            " longest grows with the interval that is shown.",
            _series({
                "mean": mean("commit_mean", "commits"), "longest": most("commit_max"),
            }, _SECONDS), units.SECONDS,
        ),
        _lines(
            "Queue",
            "Reports that waited to be written at the end of each minute, the most of an interval, by server. One that"
            " keeps growing means that the database does not keep up.",
            _series({"queued": most("queued_reports")}, number(units.COUNT)), units.COUNT,
        ),
    ),
)  # fmt: skip

_MORE = Row(
    "More of what servers do",
    (
        _lines(
            "Events, states and usage",
            "What is stored beside samples, a second, by all servers: events, changed states, and pieces of the"
            " intervals in which GPUs were used.",
            _series(
                {"events": rate("events"), "states": rate("states"), "usage": rate("usage_pieces")}, _PER_SECOND,
                servers=False,
            ), units.PER_SECOND,
        ),
        _lines(
            "Twice, and too late",
            "Reports that had been stored already, which agents send when an answer is lost, and samples that came"
            " after their time to be kept, of which only the rollup is. A few are no harm: nothing counts twice.",
            _series(
                {"twice": total("reports_duplicate"), "too_late": total("too_late_samples")},
                number(units.COUNT, decimals=0), servers=False,
            ), units.COUNT, kind=Lines(stacked=True, bars=True),
        ),
        _lines(
            "Reports wait",
            "From a report's arrival to the end of its commit, the mean, by server: so long an agent waits for its"
            " answer. Some seconds are usual, since many reports are written at once.",
            _series({"waited": mean("waited_mean", "reports_stored", "reports_duplicate")}, _SECONDS), units.SECONDS,
        ),
        _lines(
            "Failed commits",
            "Commits of reports that failed, in each interval, by server. Agents send those reports again; the server's"
            " log says why.",
            _series({"failed": total("failed_commits")}, number(units.COUNT, decimals=0)), units.COUNT,
            kind=Lines(bars=True, stacked=True),
        ),
        _lines(
            "CPU",
            "CPU of each server's process, in cores: all it does, and its upkeep (rollups, sealing, deleting), which"
            " one of them does. What PostgreSQL itself takes is not in it.",
            _series({
                "process": rate("cpu_seconds"), "upkeep": rate("upkeep_cpu_seconds"),
            }, number(units.PLAIN, decimals=2)), units.PLAIN,
        ),
        _lines(
            "Memory",
            "Resident memory of each server's process, the most of an interval; where the system does not tell, none.",
            _series({"memory": most("memory_used")}, number(units.BYTES)), units.BYTES,
        ),
        _lines(
            "Sealing behind",
            "By how much the packing of past hours is behind, of the server that does it. More than some hours means"
            " that upkeep does not keep up, and tables grow.",
            _series({"behind": most("sealing_overdue")}, _SECONDS, servers=False), units.SECONDS, 12,
        ),
        _lines(
            "Upkeep takes",
            "Which share of the time upkeep is at work, its pauses included, by server. Near 100 % it never rests.",
            _series({"share": rate("upkeep_seconds")}, number(units.SHARE)), units.SHARE, 12,
        ),
    ),
    collapsed=True,
)  # fmt: skip

_AGENTS = Row(
    "Agents and what is missing",
    (
        _lines(
            "Coverage",
            "Which share of the time of GPUs that there were is in samples, of the chosen sites and models. What is"
            " missing was never measured (node down, agent stopped) or is still on its way: it may rise later."
            " Figures of boards are of what is covered alone.",
            Query(over_time(("site",), OBSERVED, {"coverage": COVERAGE}), {
                "time": TIME, "site": text(), "coverage": number(units.SHARE),
            }), units.SHARE, 24, low=None, points=150,
        ),
        _other(
            Table(), "Backlogs",
            "Nodes that have reports waiting, or that gave some up, as they last said; the first 100. Reports wait"
            " while a server can't be reached, and come in order afterwards. What was given up is lost:"
            " the spool was full.",
            Query(serving.backlogs(), {
                "node": text("Node", link=to_node()), "site": text("Site"),
                "state": text("State", values=words(STATE_COLOURS), width=120),
                "backlog_reports": _count("Reports"), "backlog_bytes": number(units.BYTES, "Size", width=100),
                "backlog_dropped": _count("Given up", _NONE_IS_WELL), "last_seen": moment("Last seen", units.AGO),
                "agent_version": text("Agent"), "node_uuid": text(hidden=True),
            }), 14, 9, nothing="none lags behind",
        ),
        _other(
            Table(), "Clocks",
            "By how much nodes' clocks are behind (or, below 0, ahead of) the server's, the 50 that are furthest off."
            " It is measured with each report, so that the way there is in it: some hundredths of a second"
            " mean nothing.",
            Query(serving.clocks(), {
                "node": text("Node", link=to_node()), "site": text("Site"),
                "offset": number(
                    units.SECONDS, "Behind by", steps=steps(ORANGE, (-1, GREEN), (1, ORANGE)), width=110
                ),
                "last_seen": moment("Measured", units.AGO), "node_uuid": text(hidden=True),
            }), 10, 9,
        ),
        _other(
            Table(), "Versions of agents",
            "How many nodes have an agent of which version, how many of these report, and how far their samples are"
            " apart. Nodes that are long gone still count with the version that they last had.",
            Query(serving.versions(), {
                "agent_version": text("Agent"), "nodes": _count("Nodes"), "reporting": _count("Report"),
                "shortest": number(units.SECONDS, "Shortest interval"),
                "longest": number(units.SECONDS, "Longest interval"), "last": moment("Last seen", units.AGO),
            }), 24, 6,
        ),
    ),
)  # fmt: skip

_RULES = Row(
    "Alert rules",
    (
        _other(
            Table(filterable=True), "Evaluations",
            "How each rule's last evaluation went: those that fail first, then those that take longest. A rule that"
            " fails finds nothing, and its alerts stay as they are. Held back: it held for more at once than is"
            " plausible, and waits for a human.",
            Query(serving.rules(), {
                "rule": text("Rule"), "failures": _count("Failed in a row", _NONE_IS_WELL, 120),
                "ran_ts": moment("Ran", units.AGO), "succeeded_ts": moment("Succeeded", units.AGO),
                "seconds": number(units.SECONDS, "Took", steps=steps(GREEN, (5, YELLOW), (30, ORANGE)), width=90),
                "subjects": _count("Looked at"), "found": _count("Holds for"),
                "held_back": _count("Held back", _NONE_IS_WELL), "held_since_ts": moment("Since", units.AGO),
                "wait_seconds": number(units.SECONDS, "Waits", width=90),
            }), 24, 10, nothing="no rule was evaluated",
        ),
    ),
)  # fmt: skip

_DATABASE = Row(
    "Database",
    (
        _other(
            Gauges(), "Largest tables",
            "What the twelve largest tables take on disk, with their indices; partitions added up. Samples are large"
            " until they are packed.",
            Query(serving.largest(), {"title": text(), "bytes": number(units.BYTES)}), 10, 10, units.BYTES,
        ),
        _other(
            Table(filterable=True), "Tables",
            "Each table: rows by PostgreSQL's own estimate, which may be far off after many changes, and what it takes"
            " with its indices. Of packed tables a row is a block of many samples.",
            Query(serving.sizes(), {
                "title": text("What"), "table_name": text("Table"), "rows": _count("Rows, about", width=130),
                "bytes": number(units.BYTES, "On disk", width=110), "partitions": _count("Partitions"),
                "per_row": number(units.BYTES, "A row", width=100),
            }), 14, 10,
        ),
    ),
)  # fmt: skip

BOARD = Board(
    name="gpufleet",
    title="gpufleet: gpufleet itself",
    description="Servers, what comes in, agents that lag behind, rules, the database: whether what the others show can"
    " be relied on.",
    variables=(ANY_SITE, MODEL),
    rows=(_NOW, _INGEST, _AGENTS, _RULES, _DATABASE, _MORE),
    range="now-6h",
)
