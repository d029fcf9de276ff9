"""`gpufleet top`: the fleet as it is now, worst first."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufleet_server.cli import options
from gpufleet_server.cli.errors import CliError
from gpufleet_server.cli.fleet import current, models_like

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.keys import Keys

Item = dict[str, Any]

_EVERY = 2.0
# How soon a new size of the terminal is heeded, s.
_RESIZE = 0.2
_XID_MINUTES = 10
# GPUs this close to slowing themselves down count as hot, °C.
_HOT_MARGIN = 5
# Clock events that tell of a GPU held back by heat or by its power supply, not by its own power limit.
_HELD_BACK = {
    "hardware slowdown",
    "software thermal slowdown",
    "hardware thermal slowdown",
    "hardware power brake slowdown",
}
_ONCE_ROWS = 40
_OF_NODES = ("driver_failed", "not_reporting", "in_maintenance")
# What somebody ought to look at; who is in maintenance is being looked after.
_STATES = ("lost", "driver_failed", "not_reporting")
_GPUS_A_NODE = 8


@dataclass(frozen=True, slots=True)
class Frame:
    """What one look shows: the summary, GPUs worst first, and recent XIDs by GPU, newest first."""

    server: str
    summary: Item
    gpus: list[Item]
    xids: dict[str, list[Item]]


def top(
    once: Annotated[bool, typer.Option("--once", help="Print one look and end, for scripts.")] = False,
    site: options.Sites = None,
    model: options.Models = None,
    server: options.Server = None,
    token: options.Token = None,
) -> None:
    """A live view of the fleet, worst first; q or Ctrl-C ends it.

    First come lost GPUs, failed drivers, silent nodes, recent XIDs, hot and throttled GPUs; then the busiest.
    """
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.render import console, show
    from gpufleet_server.cli.settings import access

    out = console()
    with Api(access(server, token), timeout=10.0) as api:
        wanted = {"site": site, "model": models_like(api, model)}
        if once or not out.is_terminal:
            show(view(look(api, wanted, _ONCE_ROWS), out, _ONCE_ROWS), out)
            return
        _live(api, wanted, out)


def _live(api: "Api", wanted: Item, out: "Console") -> None:
    from rich.live import Live

    from gpufleet_server.cli.keys import Keys

    frame, trouble = look(api, wanted, out.height), ""
    with Keys() as keys, Live(console=out, screen=True, auto_refresh=False) as live:
        while True:
            try:
                if _quits(keys, live, out, frame, trouble):
                    return
                frame, trouble = look(api, wanted, out.height), ""
            except KeyboardInterrupt:
                return
            except CliError as error:
                trouble = str(error)


def _quits(keys: "Keys", live: "Live", out: "Console", frame: Frame, trouble: str) -> bool:
    """Show a look until it is time for another, also when the terminal changes its size; whether q was pressed."""
    end, size = time.monotonic() + _EVERY, None
    while (left := end - time.monotonic()) > 0:
        if size != (size := out.size):
            live.update(view(frame, out, out.height, trouble), refresh=True)
        if keys.pressed("q", min(left, _RESIZE)):
            return True
    return False


def look(api: "Api", wanted: Item, rows: int) -> Frame:
    """Ask for what a screen of `rows` can show: a few short listings, however large the fleet."""
    summary = api.get("/summary", wanted)
    since = f"{_server_time(summary) - 60 * _XID_MINUTES:.6f}"
    events = api.pages("/events", {"kind": "xid", "since": since, "site": wanted["site"]}, 5 * rows)["items"]
    xids: dict[str, list[Item]] = {}
    for event in events:
        if event["gpu"]:
            xids.setdefault(event["gpu"], []).append(event)
    found: dict[str, Item] = {}
    troubled = [state for state in _STATES if summary["gpus"]["by_state"].get(state)]
    for query in (*({"state": state} for state in troubled), *_SORTS):
        # A node whose GPUs all went with it takes one row.
        wide = rows * _GPUS_A_NODE if query.get("state") in _OF_NODES else rows
        for one in api.pages("/gpus", wanted | query, wide)["items"]:
            found.setdefault(one["id"], one)
    for uuid in list(xids)[:rows]:
        if uuid not in found:
            found |= {one["id"]: one for one in api.pages("/gpus", wanted | {"q": uuid}, 1)["items"]}
    present = [one for one in found.values() if one["state"] != "removed"]
    return Frame(api.server, summary, by_node(sorted(present, key=lambda one: _rank(one, xids))), xids)


def by_node(gpus: list[Item]) -> list[Item]:
    """The same with one item for all GPUs of a node that share its state; their indices as `0-7`."""
    rows: dict[object, Item] = {}
    for gpu in gpus:
        whole = gpu["state"] in _OF_NODES
        row = rows.setdefault((gpu["node"]["id"], gpu["state"]) if whole else gpu["id"], gpu | {"indices": []})
        row["indices"].append(gpu["index"] or 0)
    for row in rows.values():
        if len(row["indices"]) > 1:
            row["index"] = f"{min(row['indices'])}-{max(row['indices'])}"
    return list(rows.values())


_SORTS: tuple[Item, ...] = (
    {"sort": "temperature_margin"},
    {"sort": "-clock_event_reasons"},
    {"sort": "-gpu_utilization"},
    {"sort": "-power"},
)


def _server_time(summary: Item) -> float:
    from gpufleet_server.cli.units import when

    then = when(summary["time"])
    return time.time() if then is None else then.timestamp()


def _rank(gpu: Item, xids: dict[str, list[Item]]) -> tuple[Any, ...]:
    """Sorts worst first."""
    trouble = (*(gpu["state"] == state for state in _STATES), gpu["id"] in xids, _hot(gpu), bool(_held_back(gpu)))
    busy = (-(current(gpu, name) or 0) for name in ("gpu_utilization", "power"))
    return (*(not bad for bad in trouble), *busy, gpu["node"]["hostname"], gpu["index"] or 0)


def _hot(gpu: Item) -> bool:
    margin = current(gpu, "temperature_margin")
    return margin is not None and margin <= _HOT_MARGIN


def _held_back(gpu: Item) -> list[str]:
    if gpu["state"] != "reporting":
        return []
    flags: list[str] = gpu["metrics"].get("clock_event_reasons", {}).get("flags") or []
    return [flag for flag in flags if flag in _HELD_BACK]


def view(frame: Frame, out: "Console", rows: int, trouble: str = "") -> "RenderableType":
    """A look as one thing to print, of no more than `rows` lines; `trouble` says why it is not a newer one."""
    from rich.console import Group
    from rich.text import Text

    from gpufleet_server.cli.fleet import group_columns
    from gpufleet_server.cli.render import table

    models = frame.summary["by_model"][: max(rows // 4, 1)]
    told = Text(f"{trouble}; trying again", style="red", no_wrap=True, overflow="ellipsis") if trouble else Text("")
    parts: list[RenderableType] = [*_head(frame), told]
    if models:
        parts += [table(models, group_columns("model", "MODEL", models), out.width), Text("")]
    used = len(_head(frame)) + 1 + (len(models) + 2 if models else 0)
    shown = frame.gpus[: max(rows - used - 2, 1)]
    if shown:
        parts.append(table([gpu | {"why": why(gpu, frame.xids)} for gpu in shown], _columns(shown), out.width))
    else:
        parts.append(Text("no GPUs yet: they appear with an agent's first report"))
    return Group(*parts)


def _head(frame: Frame) -> list[Any]:
    from rich.text import Text

    from gpufleet_server.cli import units
    from gpufleet_server.cli.fleet import states

    gpus, nodes, power = frame.summary["gpus"], frame.summary["nodes"], frame.summary["power"]
    busy = units.percent(frame.summary["gpu_utilization"]["value"])
    lines = [
        Text.assemble(
            ("gpufleet top", "bold"), f"  {frame.server}  {units.local(frame.summary['time'])} {units.zone()}"
        ),
        Text.assemble("GPUs  ", states(gpus["total"], gpus["by_state"], gpus["simulated"])),
        Text.assemble(
            "nodes ", states(nodes["total"], nodes["by_state"]), f"   {busy} busy, {units.watts(power['value'])}"
        ),
    ]
    for line in lines:
        line.no_wrap, line.overflow = True, "ellipsis"
    return lines


def why(gpu: Item, xids: dict[str, list[Item]]) -> Any:
    """What is wrong with a GPU, in a few words."""
    from rich.text import Text

    parts: list[tuple[str, str]] = []
    if recent := xids.get(gpu["id"]):
        counts = Counter(event["code"] for event in recent).items()
        codes = ", ".join(f"{code} ×{count}" if count > 1 else str(code) for code, count in counts)
        parts.append((f"XID {codes}", "red"))
    if _hot(gpu):
        parts.append(("hot", "yellow"))
    if _held_back(gpu):
        parts.append(("throttled", "yellow"))
    return Text(", ").join(Text(text, style=style) for text, style in parts)


def _columns(gpus: list[Item]) -> list[Any]:
    from gpufleet_server.cli.fleet import gpu_columns
    from gpufleet_server.cli.render import Column

    names = ("SERIAL", "UUID", "RACK", "SAMPLE")
    columns = [column for column in gpu_columns(gpus) if column.header not in names]
    place = next(place for place, column in enumerate(columns) if column.header == "STATE")
    return [*columns[: place + 1], Column("", lambda gpu: gpu["why"], 1), *columns[place + 1 :]]
