"""The board *Inventory*: what GPUs and nodes there are, what versions they run, and what came and went."""

from gpufleet_server.store.grafana.views.events import VIEW as EVENTS
from gpufleet_server.store.grafana.views.gpu_counts import VIEW as GPU_COUNTS
from gpufleet_server.store.grafana.views.gpus import VIEW as GPUS
from gpufleet_server.store.grafana.views.nodes import VIEW as NODES

from gpufleet_dashboards import units
from gpufleet_dashboards.board import Board, Row
from gpufleet_dashboards.kinds import Gauges, Lines, Table
from gpufleet_dashboards.links import to_board, to_gpu, to_node
from gpufleet_dashboards.panel import Panel
from gpufleet_dashboards.query import TIME, Column, Query, moment, number, text
from gpufleet_dashboards.sql import begun, chosen, within
from gpufleet_dashboards.statements.counts import counted
from gpufleet_dashboards.statements.gaps import evenly
from gpufleet_dashboards.statements.standing import COUNTED
from gpufleet_dashboards.variables import MODEL, SITE

_ROWS = 200
_MANY = 500
# What nodes' rosters changed. Lost GPUs are events of the driver: the board Health has them.
_CHANGES = (
    *("node_added", "node_changed", "gpu_added", "gpu_changed", "gpu_removed"),
    *("partition_added", "partition_removed"),
)
_CHANGED = f"{EVENTS['kind']} IN ({', '.join(repr(kind) for kind in _CHANGES)}) AND {within(EVENTS)}"
_OF_NODES = chosen(NODES, "site")

_HOW_MANY = number(units.COUNT, "GPUs", decimals=0, width=90)
_UUID = text(hidden=True)


def _table(title: str, description: str, sql: str, returns: dict[str, Column], w: int, h: int = 9) -> Panel:
    return Panel(
        kind=Table(), title=title, description=description, unit=units.COUNT, query=Query(sql, returns), w=w, h=h
    )


def _versions(title: str, description: str, what: str, columns: dict[str, str]) -> Panel:
    """GPUs by what some columns of the count by `what` say, `columns` by name with their headings; rare ones last."""
    view = GPU_COUNTS
    names, gpus = ", ".join(view[name] for name in columns), f"sum({view['gpus']})"
    whole = f"PARTITION BY {view['model']}" if "model" in columns else ""
    first = f"{view['model']}, " if "model" in columns else ""
    sql = f"""SELECT {names}, {gpus}::float8 AS gpus, (100 * {gpus} / sum({gpus}) OVER ({whole}))::float8 AS share
FROM {view} WHERE {view["what"]} = '{what}' AND {chosen(view, "site", "model")}
GROUP BY {names} ORDER BY {first}{gpus} DESC, {names} LIMIT {_ROWS}"""
    returns = {name: text(title) for name, title in columns.items()}
    share = number(units.PERCENT, "Of its model" if "model" in columns else "Share", decimals=1, width=110)
    return _table(title, description, sql, {**returns, "gpus": _HOW_MANY, "share": share}, 12)


_WHAT = Row(
    "What there is",
    (
        _table(
            "Types",
            "GPUs that nodes have, by model, those of silent nodes too. Counted once a minute, the last time before "
            "the end of the range. Models are named as the driver names them: memory and maker are in the name, or "
            "not.",
            f"""WITH counted AS ({COUNTED})
SELECT model, sum(gpus)::float8 AS gpus, (100 * sum(gpus) / sum(sum(gpus)) OVER ())::float8 AS share,
  sum(CASE WHEN state = 'reporting' THEN gpus ELSE 0 END)::float8 AS reporting, count(DISTINCT site) AS sites
FROM counted GROUP BY model ORDER BY gpus DESC, model LIMIT {_ROWS}""",
            {
                "model": text("Model"),
                "gpus": _HOW_MANY,
                "share": number(units.PERCENT, "Share", decimals=1, width=80),
                "reporting": number(units.COUNT, "Reporting", decimals=0, width=100),
                "sites": number(units.COUNT, "Sites", width=70),
            },
            14,
        ),
        Panel(
            kind=Gauges(),
            title="By site",
            description="GPUs that nodes have, by site, the 20 largest; of the last count before the end of the "
            "range. A node without a site set is under (none): what it is set to is up to whoever configures its "
            "agent.",
            unit=units.COUNT,
            query=Query(
                f"WITH counted AS ({COUNTED}) SELECT site, sum(gpus)::float8 AS gpus FROM counted "
                "GROUP BY site ORDER BY gpus DESC, site LIMIT 20",
                {"site": text(), "gpus": number(units.COUNT, decimals=0)},
            ),
            low=0,
            w=10,
            h=9,
        ),
        Panel(
            kind=Lines(stacked=True),
            title="Owned, by model",
            description="GPUs that nodes had, by model; an interval's mean of counts, over a month one of six hours."
            " It goes down when a node reports "
            "without a GPU, not when the node falls silent. Models of few GPUs vanish under the others: see the table.",
            unit=units.COUNT,
            query=Query(counted("model"), {"time": TIME, "model": text(), "gpus": number(units.COUNT, decimals=0)}),
            links=(to_board("Fleet", "fleet"),),
            w=24,
            h=8,
        ),
    ),
)

_VERSIONS = Row(
    "Versions",
    (
        _versions(
            "Drivers",
            "GPUs by the driver of their node, the most common first: what is last is what an update left out. Of "
            "silent nodes it is what they last told; (none): nobody could read it. As of at most a minute ago, "
            "whatever range is shown.",
            "driver",
            {"driver": "Driver", "cuda": "CUDA, at most"},
        ),
        _versions(
            "VBIOS",
            "GPUs by model and version of the VBIOS. Boards of different makers have different ones: another version "
            "is not an older one. (none): the driver did not tell. As of at most a minute ago, whatever range is "
            "shown.",
            "vbios",
            {"model": "Model", "vbios": "VBIOS"},
        ),
        _versions(
            "Firmware and boards",
            "GPUs by model, part number, InfoROM image and GSP firmware. GSP firmware comes with the driver; the part "
            "number tells boards of one model apart. (none): the driver did not tell. As of at most a minute ago, "
            "whatever range is shown.",
            "firmware",
            {"model": "Model", "part_number": "Part number", "inforom": "InfoROM", "firmware": "GSP firmware"},
        ),
        _table(
            "Agents and systems",
            "Nodes by version of the agent, kernel and operating system, the most common first. Of silent nodes it is "
            "what they last told. Nodes of all models: a node may have several.",
            f"""SELECT {NODES["agent_version"]}, {NODES["kernel"]}, {NODES["os"]}, count(*) AS nodes,
  (100 * count(*) / sum(count(*)) OVER ())::float8 AS share
FROM {NODES} WHERE {_OF_NODES} GROUP BY 1, 2, 3 ORDER BY nodes DESC, 1, 2, 3 LIMIT {_ROWS}""",
            {
                "agent_version": text("Agent", width=90),
                "kernel": text("Kernel"),
                "os": text("System"),
                "nodes": number(units.COUNT, "Nodes", width=80),
                "share": number(units.PERCENT, "Share", decimals=1, width=80),
            },
            12,
        ),
    ),
)

_CHANGE_COUNTS = f"""SELECT {begun(EVENTS["at"])} AS time,
  {EVENTS["kind"]}, count(*)::float8 AS changes
FROM {EVENTS} WHERE {_CHANGED} AND {chosen(EVENTS, "site")} GROUP BY 1, 2"""
_CHANGE_LIST = f"""SELECT {EVENTS["ts"]}, {EVENTS["kind"]}, {EVENTS["message"]}, {EVENTS["site"]}, {EVENTS["node"]},
  {EVENTS["position"]}, {EVENTS["serial"]}, {EVENTS["node_uuid"]}, {EVENTS["gpu"]}
FROM {EVENTS} WHERE {_CHANGED} AND {chosen(EVENTS, "site")} ORDER BY {EVENTS["at"]} DESC LIMIT {_ROWS}"""
_GONE = f"""SELECT {GPUS["removed_at"]}, {GPUS["site"]}, {GPUS["node"]}, {GPUS["position"]}, {GPUS["model"]},
  {GPUS["serial"]}, {GPUS["first_seen"]}, {GPUS["node_uuid"]}, {GPUS["gpu"]}
FROM {GPUS} WHERE {GPUS["removed"]} AND {chosen(GPUS, "site", "model")}
ORDER BY {GPUS["removed_at"]} DESC LIMIT {_ROWS}"""
_ROSTER = Row(
    "What changed",
    (
        Panel(
            kind=Lines(stacked=True, bars=True),
            title="Changes of rosters",
            description="How often rosters changed in each interval: nodes and GPUs that came or went, and what "
            "changed of them, such as a driver. An update of a node's driver is several changes. Told when the node "
            "next reported.",
            unit=units.COUNT,
            query=Query(
                evenly(_CHANGE_COUNTS, ("kind",), ("changes",)),
                {"time": TIME, "kind": text(), "changes": number(units.COUNT, decimals=0)},
            ),
            points=100,
            finest="1m",
            w=24,
            h=7,
        ),
        _table(
            "Each change",
            f"The changes of rosters in the shown range, of all models, the newest first, {_ROWS} at most. A "
            "GPU that was pulled while its node was off shows as removed when the node is back.",
            _CHANGE_LIST,
            {
                "ts": moment("When", width=170),
                "kind": text("What", width=140),
                "message": text("Change"),
                "site": text("Site", width=110),
                "node": text("Node", link=to_node(), width=150),
                "position": number(units.PLAIN, "GPU", link=to_gpu(), width=60),
                "serial": text("Serial", width=130),
                "node_uuid": _UUID,
                "gpu": _UUID,
            },
            14,
            10,
        ),
        _table(
            "GPUs that are gone",
            f"GPUs that nodes reported without, the last to go first, {_ROWS} at most, whatever range is shown. A "
            "board that went to another node is there too: look for its serial number.",
            _GONE,
            {
                "removed_at": moment("Gone", width=170),
                "site": text("Site", width=100),
                "node": text("Node", link=to_node(), width=140),
                "position": number(units.PLAIN, "GPU", link=to_gpu(), width=60),
                "model": text("Model"),
                "serial": text("Serial", width=130),
                "first_seen": moment("First seen", width=170),
                "node_uuid": _UUID,
                "gpu": _UUID,
            },
            10,
            10,
        ),
    ),
)

_NODE_LIST = f"""SELECT {NODES["site"]}, {NODES["room"]}, {NODES["rack"]}, {NODES["node"]}, {NODES["gpus"]},
  {NODES["state"]}, {NODES["driver"]}, {NODES["kernel"]}, {NODES["agent_version"]}, {NODES["first_seen"]},
  {NODES["last_seen"]}, {NODES["node_uuid"]}
FROM {NODES} WHERE {_OF_NODES}
ORDER BY {NODES["last_seen"]}, {NODES["node"]} LIMIT {_MANY}"""
_NODES = Row(
    "Nodes",
    (
        _table(
            "Nodes, first and last seen",
            f"Nodes of the chosen sites, whatever GPUs they have, those unheard of for longest first, {_MANY} at "
            "most: choose fewer sites to see others. First seen is when this store heard of it first, not when it was "
            "bought.",
            _NODE_LIST,
            {
                "site": text("Site", width=110),
                "room": text("Room", width=90),
                "rack": text("Rack", width=80),
                "node": text("Node", link=to_node()),
                "gpus": _HOW_MANY,
                "state": text("State", width=120),
                "driver": text("Driver", width=120),
                "kernel": text("Kernel"),
                "agent_version": text("Agent", width=80),
                "first_seen": moment("First seen", width=170),
                "last_seen": moment("Last seen", units.AGO, width=130),
                "node_uuid": _UUID,
            },
            24,
            11,
        ),
    ),
)

BOARD = Board(
    name="inventory",
    title="gpufleet: Inventory",
    description="What GPUs and nodes there are, what versions they run, and what came, went and changed.",
    variables=(SITE, MODEL),
    rows=(_WHAT, _VERSIONS, _ROSTER, _NODES),
    range="now-7d",
    refresh="5m",
)
