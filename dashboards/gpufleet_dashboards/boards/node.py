"""Node: what it is, and its GPUs side by side."""

from typing import Any

from gpufleet_agent.catalogue import BY_NAME, Use
from gpufleet_server.store.grafana.views.alerts import VIEW as ALERTS
from gpufleet_server.store.grafana.views.events import VIEW as EVENTS
from gpufleet_server.store.grafana.views.gpus import VIEW as GPUS
from gpufleet_server.store.grafana.views.latest import VIEW as LATEST
from gpufleet_server.store.grafana.views.nodes import VIEW as NODES
from gpufleet_server.store.grafana.views.usage import VIEW as USAGE

from gpufleet_dashboards import units
from gpufleet_dashboards.board import Annotation, Board, Row
from gpufleet_dashboards.kinds import Bands, Heat, Kind, Lines, States, Table
from gpufleet_dashboards.links import Link, field, label
from gpufleet_dashboards.panel import Panel
from gpufleet_dashboards.query import TIME, Query, metric, moment, number, text
from gpufleet_dashboards.scale import (
    BLUE,
    GREEN,
    ORANGE,
    PURPLE,
    RED,
    STATE_COLOURS,
    USE_COLOURS,
    YELLOW,
    numbered,
    steps,
    words,
)
from gpufleet_dashboards.sql import Columns, is_one
from gpufleet_dashboards.statements import flags, held, listed, single
from gpufleet_dashboards.variables import MODEL, NODE, SITE

# The colours of Use by their numbers.
USES = numbered({use.word: USE_COLOURS[use.word] for use in sorted(Use)})
HELD_DOWN = numbered({"nothing": GREEN, "power cap": BLUE, "heat": ORANGE, "hardware": RED})
_BY_TIER = (
    "Samples up to some hours, then means of hours, then of days: with a wide range a short peak is not to be seen."
    " A line ends where nothing was told."
)


def _here(view: Columns) -> str:
    return is_one(view, "node_uuid", "node")


def _to_gpu(uuid: str) -> Link:
    return Link("The GPU", "gpu", (("node", "${node}"), ("gpu", uuid)))


_OF_SERIES, _OF_ROW = _to_gpu(label("gpu")), _to_gpu(field("gpu"))

_FACTS = {
    "Hostname": NODES["node"],
    "UUID": NODES["node_uuid"],
    "State": NODES["state"],
    "Driver": f"concat_ws(', ', {NODES['driver']}, {NODES['driver_state']}, nullif({NODES['driver_detail']}, ''))",
    "CUDA": NODES["cuda"],
    "Site, room, rack": f"concat_ws(', ', {NODES['site']}, {NODES['room']}, {NODES['rack']})",
    "GPUs": f"{NODES['gpus']}::text",
    "Operating system": NODES["os"],
    "Kernel": NODES["kernel"],
    "Agent": NODES["agent_version"],
    "Interval between samples": f"{NODES['interval_seconds']} || ' s'",
    "Last report": f"date_trunc('second', now() - {NODES['last_seen']}) || ' ago'",
    "Known for": f"date_trunc('hour', now() - {NODES['first_seen']})::text",
    "Its clock is behind by": f"round({NODES['clock_offset_seconds']}::numeric, 3) || ' s'",
    "Reports that wait on it": f"{NODES['backlog_reports']} || ', ' || pg_size_pretty({NODES['backlog_bytes']})",
    "Reports that it gave up": f"{NODES['backlog_dropped']}::text",
    "Simulated": f"CASE WHEN {NODES['simulated']} THEN 'yes' ELSE 'no' END",
}


def _gpus() -> Query:
    shown = ("gpu_utilization", "sm_active", "fb_used", "power", "gpu_temperature")
    values = ", ".join(f"newest.{LATEST[name]}" for name in shown)
    here = is_one({"node_uuid": f"gpus.{GPUS['node_uuid']}"}, "node_uuid", "node")
    sql = f"""SELECT gpus.{GPUS["position"]}, gpus.{GPUS["model"]}, gpus.{GPUS["serial"]}, gpus.{GPUS["state"]},
  newest.{LATEST["use"]}, {values}, gpus.{GPUS["memory_total"]}, holders.now AS holder,
  newest.{LATEST["ts"]} AS sampled, gpus.{GPUS["gpu"]}
FROM {GPUS} AS gpus
LEFT JOIN (SELECT * FROM {LATEST} WHERE {_here(LATEST)}) AS newest ON newest.gpu_id = gpus.gpu_id
LEFT JOIN (
  SELECT {USAGE["gpu_id"]} AS gpu_id, string_agg(DISTINCT {held.named(USAGE, USAGE["holder"])}, ', ') AS now
  FROM {USAGE} WHERE {_here(USAGE)}
    AND {USAGE["begin_at"]} > (extract(epoch FROM now() - interval '1 day') * 1000000)::bigint
    AND {USAGE["end_at"]} > (extract(epoch FROM now() - interval '5 minutes') * 1000000)::bigint GROUP BY 1
) AS holders ON holders.gpu_id = gpus.gpu_id
WHERE {here} AND gpus.{GPUS["removed_at"]} IS NULL ORDER BY 1"""
    columns = {
        "position": number(units.PLAIN, "GPU", link=_OF_ROW, width=60),
        "model": text("Model"),
        "serial": text("Serial"),
        "state": text("State", values=words(STATE_COLOURS)),
        "use": text("Use", values=words(USE_COLOURS), width=80),
        "gpu_utilization": metric("gpu_utilization", "Kernel ran", decimals=0),
        "sm_active": metric("sm_active", "SM active", decimals=0),
        "fb_used": metric("fb_used", "Memory used"),
        "power": metric("power", "Power", decimals=0),
        "gpu_temperature": metric("gpu_temperature", "Temperature", steps=steps(GREEN, (80, ORANGE), (90, RED))),
        "memory_total": number(units.BYTES, "Memory"),
        "holder": text("Who has it", width=260),
        "sampled": moment("Sampled", units.AGO),
        "gpu": text("UUID", link=_OF_ROW),
    }
    return Query(sql, columns)


def _clocks() -> Query:
    name = flags.REASONS.name
    level = flags.held_down(f"bit_or({name})")
    return single.side_by_side(_here, lambda _: level, (name,), number(units.PLAIN))


def _coverage() -> Query:
    here = f"{_here(GPUS)} AND {GPUS['removed_at']} IS NULL"
    sql = single.coverage(_here, f"(SELECT count(*) FROM {GPUS} WHERE {here})")
    return Query(sql, {"time": TIME, "coverage": number(units.SHARE)})


def _metric(name: str, title: str, kind: Kind, w: int, more: str, **options: Any) -> Panel:
    each = BY_NAME[name]
    query = single.cells_of_each if isinstance(kind, Heat) else single.metric_of_each
    return Panel(
        kind=kind, title=title, description=f"{each.help} {more} {_BY_TIER}", unit=single.unit_of_rolled(each),
        query=query(_here, name), w=w, h=8, links=(_OF_SERIES,),
        legend="GPU ${__field.labels.position}", **options,
    )  # fmt: skip


_WHAT = Row(
    "What it is",
    (
        Panel(
            kind=Table(), title="Node",
            description="What its agent last told, and what the server knows of that agent. A node that is silent keeps"
            " what it last told: its state then says not_reporting.",
            unit=units.PLAIN, query=listed.facts(NODES, _here(NODES), _FACTS), w=7, h=10,
        ),
        Panel(
            kind=Table(), title="Its GPUs now",
            description="The newest sample of each GPU, however old that is (Sampled), and who had it in the last five"
            " minutes. Kernel ran is the share of time in which any kernel ran, however small; SM active is how much of"
            " the GPU worked, and is empty on GPUs that do not tell (before Hopper).",
            unit=units.PLAIN, query=_gpus(), w=17, h=10,
        ),
    ),
)  # fmt: skip

_DID = Row(
    "What its GPUs did",
    (
        Panel(
            kind=States(), title="Use",
            description="What each GPU did for most of an interval. Active: something ran, 1 % of the time or more."
            " Held: nothing ran, but a process or its memory kept others away. Unknown: the driver does not tell, as"
            " under MIG before Hopper. A gap: nothing was told, which is not the same as free.",
            unit=units.PLAIN, query=single.use_of_each(_here), w=12, h=8, values=USES, links=(_OF_SERIES,),
            legend="GPU ${__field.labels.position}",
        ),
        Panel(
            kind=Bands(by="gpu"), title="Who held them",
            description="Which workloads had each GPU, by its position: in each interval the one that had it longest,"
            " and those that had it for half of it. What lived between two samples was not seen. A gap: nobody had it,"
            " or the agent does not tell who (usage = off). One to two minutes behind.",
            unit=units.PLAIN, query=held.bands(_here(USAGE), _here(GPUS)), w=12, h=8, points=150,
        ),
        _metric(
            "sm_active", "Multiprocessors active", Heat(), 12,
            "GPUs before Hopper do not tell it: their row is missing.", low=0, high=100, decimals=1,
        ),
        _metric(
            "gpu_utilization", "A kernel ran", Heat(scheme="Blues"), 12,
            "It is 100 % for one small kernel, and for a job that hangs in a collective operation: compare it with"
            " power and multiprocessors. Absent under MIG.", low=0, high=100, decimals=1,
        ),
    ),
)  # fmt: skip

_SIDE_BY_SIDE = Row(
    "Side by side",
    (
        _metric("fb_used", "Memory used", Lines(), 8, "Frameworks keep what they once took, needed or not.", low=0),
        _metric(
            "power", "Power", Lines(), 8,
            "The driver's own reading, where there is no counter, samples a quarter of the time on some boards.", low=0,
        ),
        _metric(
            "gpu_temperature", "Temperature", Lines(), 8,
            "The most of an interval. Limits differ by model: the alert goes by the GPU's own, these colours do not.",
            steps=steps(GREEN, (80, ORANGE), (90, RED)),
        ),
        Panel(
            kind=States(), title="What held the clocks down",
            description="The gravest reason that the driver gave in an interval, for however short a time. A power cap"
            " is what a busy GPU runs into and is no fault; heat and the hardware's own slowdown are worth a look.",
            unit=units.PLAIN, query=_clocks(), w=12, h=8, values=HELD_DOWN, links=(_OF_SERIES,),
            legend="GPU ${__field.labels.position}",
        ),
        Panel(
            kind=Lines(), title="Coverage",
            description="Share of the time of the GPUs that the node has now that is in samples. Below 100 % all else"
            " here is of that share only: the agent was down or paused, the driver hung, a GPU was lost, or GPUs came"
            " later.",
            unit=units.SHARE, query=_coverage(), w=12, h=8, low=0, high=1,
            steps=steps(RED, (0.9, YELLOW), (0.99, GREEN)),
        ),
    ),
)  # fmt: skip

_LINKS = Row(
    "Traffic",
    tuple(
        _metric(name, title, Lines(), 6, "Bytes a second, the mean of an interval.", low=0)
        for name, title in (
            ("nvlink_tx_bytes", "Sent over NVLink"),
            ("nvlink_rx_bytes", "Received over NVLink"),
            ("pcie_tx_bytes", "Sent over PCIe"),
            ("pcie_rx_bytes", "Received over PCIe"),
        )
    ),
    collapsed=True,
)

_WHO = Row(
    "Who used them",
    (
        Panel(
            kind=Table(), title="Workloads",
            description="What each workload had of this node's GPUs in the range, in GPU-hours: what several had at"
            " once is divided between them, an interval that the range cuts counts in proportion. (nobody): memory was"
            " held, and the driver listed no process. (unknown): which processes, or whose, could not be told. The"
            " first hundred.",
            unit=units.PLAIN, query=held.workloads(_here(USAGE)), w=24, h=9,
        ),
    ),
)  # fmt: skip

_HAPPENED = Row(
    "What happened",
    (
        Panel(
            kind=Table(), title="Events",
            description="What the node and its GPUs told in the range, newest first, at most two hundred. An XID that"
            " NVML and the kernel log both told is one event. None is not a proof: who does not report tells no"
            " events.",
            unit=units.PLAIN, query=listed.events(_here(EVENTS), gpu=_OF_ROW), w=24, h=9,
        ),
        Panel(
            kind=Table(), title="Alerts",
            description="Alerts about the node or its GPUs that fired and were not over before the range. Those of its"
            " rack or site are on the board of alerts.",
            unit=units.PLAIN, query=listed.alerts(_here(ALERTS), gpu=_OF_ROW), w=24, h=7,
        ),
    ),
)  # fmt: skip

BOARD = Board(
    name="node",
    title="gpufleet: Node",
    description="One node: what it is, what its GPUs did side by side, who had them, and what went wrong.",
    rows=(_WHAT, _DID, _SIDE_BY_SIDE, _LINKS, _WHO, _HAPPENED),
    variables=(SITE, MODEL, NODE),
    annotations=(Annotation(name="Events", query=listed.marks(_here(EVENTS)), colour=PURPLE),),
    range="now-3h",
)
