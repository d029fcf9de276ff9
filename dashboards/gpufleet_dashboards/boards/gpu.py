"""GPU: its identity, all of its metrics, who had it, and what went wrong."""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from gpufleet_agent.catalogue import EVERY_SAMPLE, ON_CHANGE, Kind, Metric, Unit, Use
from gpufleet_server.store.grafana.views.alerts import VIEW as ALERTS
from gpufleet_server.store.grafana.views.events import VIEW as EVENTS
from gpufleet_server.store.grafana.views.gpus import VIEW as GPUS
from gpufleet_server.store.grafana.views.latest import VIEW as LATEST
from gpufleet_server.store.grafana.views.usage import VIEW as USAGE

from gpufleet_dashboards import units
from gpufleet_dashboards.board import Annotation, Board, Row
from gpufleet_dashboards.kinds import Bands, Lines, Stat, States, Table
from gpufleet_dashboards.links import to_node
from gpufleet_dashboards.panel import Panel
from gpufleet_dashboards.query import TIME, Query, metric, number
from gpufleet_dashboards.scale import (
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    USE_COLOURS,
    YELLOW,
    Value,
    steps,
)
from gpufleet_dashboards.sql import Columns, is_one
from gpufleet_dashboards.statements import held, listed, single, states
from gpufleet_dashboards.variables import GPU, MODEL, NODE, SITE

# Metrics that belong together, by how their names are made, in this order; what fits none goes by its unit.
_OF_SAMPLES = (
    ("Activity", r"gpu_utilization|sm_.*(active|occupancy)|tensor_active|dram_active"),
    ("Pipes", r"fp\d+_active|int\d*_active|.*_pipe_active"),
    ("Engines", r".*_utilization"),
    ("Clocks held down", r"clocks_held_by_.*"),
    ("NVLink", r"nvlink_.*_bytes"),
    ("PCIe", r"pcie_.*_bytes"),
    ("Energy", r"energy"),
)
_ON_CHANGE = (
    ("ECC errors since the driver was loaded", r"ecc_.*_volatile"),
    ("ECC errors in the board's life", r"ecc_.*"),
    ("Spare rows of memory banks", r"remap_banks_.*"),
    ("Remapped rows and retired pages", r"remapped_rows_.*|retired_pages_.*"),
    ("NVLink errors", r"nvlink_.*_(errors|recoveries)"),
    ("NVLinks", r"nvlink_links_.*"),
    ("PCIe link", r"pcie_link_.*"),
    ("Fabric", r"fabric_.*"),
    ("PCIe replays", r"pcie_replays"),
    ("Power limit", r"power_limit.*"),
    ("What the driver asks for", r"recovery_action"),
    ("Memory that waits, or is at its end", r"(remap|retirement)_(pending|failed)|sram_threshold_exceeded"),
)
_OF_UNIT = {
    Unit.PERCENT: "Other shares", Unit.BYTE: "Memory", Unit.WATT: "Power", Unit.JOULE: "Energy",
    Unit.CELSIUS: "Temperatures", Unit.MEGAHERTZ: "Clocks", Unit.COUNT: "Counts", Unit.FLAG: "Yes or no",
    Unit.FLAGS: "Flags", Unit.LEVEL: "Levels",
}  # fmt: skip
YES_NO = (Value(0, "no", GREEN), Value(1, "yes", RED))


def _here(view: Columns) -> str:
    return f"{is_one(view, 'node_uuid', 'node')} AND {is_one(view, 'gpu', 'gpu')}"


def groups(listed: Iterable[Metric], names: Sequence[tuple[str, str]], rest: str = "") -> dict[str, list[Metric]]:
    """Metrics by what they are shown under, each once: those of one panel have one unit and kind.

    `rest` ends the titles of those that fit none of `names`.
    """
    found: dict[tuple[str, Unit, Kind], list[Metric]] = {}
    for each in listed:
        title = next((title for title, made in names if re.fullmatch(made, each.name)), f"{_OF_UNIT[each.unit]}{rest}")
        found.setdefault((title, each.unit, each.kind), []).append(each)
    titles = [title for title, _, _ in found]
    several = {title for title in titles if titles.count(title) > 1}
    return {
        f"{title}, {unit.symbol or 'count'}" if title in several else title: group
        for (title, unit, _), group in found.items()
    }


def _words(group: Sequence[Metric]) -> str:
    return " ".join(f"`{each.name}`: {each.help}" for each in group)


def _sampled(title: str, group: Sequence[Metric], w: int) -> Panel:
    how = {each.rollup.value for each in group}
    return Panel(
        kind=Lines(),
        title=title,
        description=f"{_words(group)} Samples up to some hours, then hours, then days, of which this is the"
        f" {' or '.join(sorted(how))}, of what adds up so much a second. A line ends where nothing was told; a metric"
        " without a line is one that this GPU does not tell.",
        unit=single.unit_of_rolled(group[0]),
        query=single.metrics(_here, group),
        w=w,
        h=8,
        low=0 if group[0].unit is Unit.PERCENT else None,
    )


def _flags(each: Metric, w: int) -> Panel:
    columns = {re.sub(r"\W+", "_", word): bit for bit, word in each.flags}
    values = {name: f"(bit_or({each.name}) & {bit} <> 0)::integer::float8" for name, bit in columns.items()}
    query = Query(
        single.wide(_here, values, [each.name]), {"time": TIME} | {name: number(units.YES_NO) for name in columns}
    )
    return Panel(
        kind=States(),
        title=each.name.replace("_", " ").capitalize(),
        description=f"{each.help} A flag is set in an interval if it was in any sample of it: with a wide range that of"
        " a second colours a day. Whether it was for long, Clocks held down tells.",
        unit=units.YES_NO,
        query=query,
        w=w,
        h=8,
        values=(Value(0, "no", GREY), Value(1, "yes", ORANGE)),
    )


def _on_change(title: str, group: Sequence[Metric], w: int) -> Panel:
    yes_no = group[0].unit is Unit.FLAG
    flags = " Of flags it is how many are set." if group[0].unit is Unit.FLAGS else ""
    return Panel(
        kind=States() if yes_no else Lines(),
        title=title,
        description=f"{_words(group)}{flags} Read about once a minute and sent when it changed: a value holds until the"
        " next one, also while the node is silent. What came and went within an interval is not seen.",
        unit=units.unit_of(group[0]),
        query=states.over_time(group),
        w=w,
        h=8,
        values=YES_NO if yes_no else (),
    )


def _in_lines(made: Sequence[Panel]) -> tuple[Panel, ...]:
    """Three panels a line, the last ones wider, so that each line is filled."""
    found = []
    for place, panel in enumerate(made):
        left = len(made) - place // 3 * 3
        found.append(_as_wide(panel, 24 // min(3, left)))
    return tuple(found)


def _as_wide(panel: Panel, w: int) -> Panel:
    return panel if panel.w == w else replace(panel, w=w)


def _of_samples() -> Iterator[Panel]:
    lines = [each for each in EVERY_SAMPLE if each.unit is not Unit.FLAGS]
    for title, group in groups(lines, _OF_SAMPLES).items():
        yield _sampled(title, group, 8)
    for each in EVERY_SAMPLE:
        if each.unit is Unit.FLAGS:
            yield _flags(each, 8)


_FACTS = {
    "UUID": GPUS["gpu"],
    "Serial": GPUS["serial"],
    "Model": f"concat_ws(' ', {GPUS['vendor']}, {GPUS['model']})",
    "Part number": GPUS["part_number"],
    "State": GPUS["state"],
    "Node": GPUS["node"],
    "Index, PCI address": f"concat_ws(', ', {GPUS['position']}, {GPUS['pci_address']})",
    "Site, room, rack": f"concat_ws(', ', {GPUS['site']}, {GPUS['room']}, {GPUS['rack']})",
    "Memory": f"pg_size_pretty({GPUS['memory_total']})",
    "VBIOS": GPUS["vbios"],
    "InfoROM": GPUS["inforom"],
    "GSP firmware": GPUS["firmware"],
    "Driver, CUDA": f"concat_ws(', ', {GPUS['driver']}, {GPUS['cuda']})",
    "First seen in this node": f"to_char({GPUS['first_seen']} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI \"UTC\"')",
    "Gone since": f"to_char({GPUS['removed_at']} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI \"UTC\"')",
    "Simulated": f"CASE WHEN {GPUS['simulated']} THEN 'yes' ELSE 'no' END",
}


def _now() -> Query:
    shown = {
        "sm_active": metric("sm_active", "SM active", decimals=0),
        "gpu_utilization": metric("gpu_utilization", "A kernel ran", decimals=0),
        "fb_used": metric("fb_used", "Memory used"),
        "power": metric("power", "Power", decimals=0),
        "gpu_temperature": metric("gpu_temperature", "Temperature", steps=steps(GREEN, (80, ORANGE), (90, RED))),
        "compute_processes": metric("compute_processes", "Processes"),
    }
    sql = f"""SELECT {", ".join(LATEST[name] for name in shown)},
  (extract(epoch FROM now() - {LATEST["ts"]}))::float8 AS age FROM {LATEST} WHERE {_here(LATEST)}"""
    age = number(units.SECONDS, "Age of the sample", decimals=0, steps=steps(GREEN, (60, YELLOW), (300, RED)))
    return Query(sql, shown | {"age": age})


def _uses() -> Query:
    return Query(single.seconds_by_use(_here), {"time": TIME} | {use.word: number(units.SHARE) for use in Use})


_WHAT = Row(
    "What it is",
    (
        Panel(
            kind=Stat(), title="Now",
            description="The newest sample, and how old it is: a GPU that is lost, or whose node is silent, keeps its"
            " last one. What the driver does not tell is missing, not 0.",
            unit=units.PLAIN, query=_now(), w=24, h=4, nothing="not told",
        ),
        Panel(
            kind=Table(), title="Identity",
            description="What the driver says of the board. The serial number is what invoices and returns go by. A"
            " GPU that moved to another node is another one here, with the same UUID and serial: nothing is merged.",
            unit=units.PLAIN, query=listed.facts(GPUS, _here(GPUS), _FACTS), w=8, h=14,
        ),
        Panel(
            kind=Table(), title="In force",
            description="Metrics that are sent when they change: the value at the end of the range, since when, or why"
            " there is none. What was never told is not listed. Flags are shown as their number: the graphs below"
            " count them.",
            unit=units.COUNT, query=states.now(), w=16, h=14,
        ),
    ),
)  # fmt: skip

_WHO = Row(
    "Who had it",
    (
        Panel(
            kind=Lines(stacked=True), title="Use",
            description="Share of the samples' time. Active: something ran, 1 % of a sample or more. Held: nothing"
            " ran, but a process or its memory kept others away. Unknown: the driver does not tell. Of the time"
            " without samples nothing is said: see coverage.",
            unit=units.SHARE, query=_uses(), w=16, h=7, low=0, high=1, colours=USE_COLOURS,
        ),
        Panel(
            kind=Lines(), title="Coverage",
            description="Share of the time that is in samples. Below 100 % all else here is of that share only: the"
            " agent was down or paused, the driver hung, or the GPU was lost.",
            unit=units.SHARE, query=Query(single.coverage(_here), {"time": TIME, "coverage": number(units.SHARE)}),
            w=8, h=7, low=0, high=1, steps=steps(RED, (0.9, YELLOW), (0.99, GREEN)),
        ),
        Panel(
            kind=Bands(by="gpu"), title="Held by",
            description="Which workloads had the GPU, or a partition of it: in each interval the one that had it"
            " longest, and those that had it for half of it. A gap: nobody had it, or the agent does not tell who. One"
            " to two minutes behind.",
            unit=units.PLAIN, query=held.bands(_here(USAGE), _here(GPUS)), w=24, h=4, points=300,
        ),
        Panel(
            kind=Table(), title="Workloads",
            description="What each workload had of this GPU in the range, in GPU-hours: what several had at once is"
            " divided between them, a partition counts by its share. (nobody): memory was held, and the driver listed"
            " no process. (unknown): whose processes they were could not be told.",
            unit=units.PLAIN, query=held.workloads(_here(USAGE)), w=24, h=7,
        ),
    ),
)  # fmt: skip

_HAPPENED = Row(
    "What happened",
    (
        Panel(
            kind=Table(), title="Events",
            description="What was told of this GPU in the range, newest first, at most two hundred; they are marked in"
            " the graphs too. None is not a proof: who does not report tells no events.",
            unit=units.PLAIN, query=listed.events(_here(EVENTS), node=to_node()), w=24, h=8,
        ),
        Panel(
            kind=Table(), title="Alerts",
            description="Alerts about this GPU that fired and were not over before the range. Those of its node are on"
            " the board Node.",
            unit=units.PLAIN, query=listed.alerts(_here(ALERTS), node=to_node()), w=24, h=6,
        ),
    ),
)  # fmt: skip

BOARD = Board(
    name="gpu",
    title="gpufleet: GPU",
    description="One GPU: what it is, all of its metrics, who had it, and what went wrong.",
    rows=(
        _WHAT,
        Row("Metrics of every sample", _in_lines(list(_of_samples()))),
        _WHO,
        _HAPPENED,
        Row(
            "Metrics that are sent when they change",
            _in_lines(
                [_on_change(title, group, 8) for title, group in groups(ON_CHANGE, _ON_CHANGE, " in force").items()]
            ),
            collapsed=True,
        ),
    ),
    variables=(SITE, MODEL, NODE, GPU),
    annotations=(Annotation(name="Events", query=listed.marks(_here(EVENTS)), colour=PURPLE),),
    range="now-3h",
)
