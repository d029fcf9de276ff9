"""`gpufleet summary | nodes | gpus`: the fleet, its nodes, its GPUs."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufleet_server.cli import options
from gpufleet_server.cli.errors import CliError

if TYPE_CHECKING:
    from collections.abc import Callable

    from rich.console import Console, RenderableType

    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.render import Column

Item = dict[str, Any]
_NO_TROUBLE = ("reporting", "in_maintenance", "removed")


def summary(
    site: options.Sites = None,
    model: options.Models = None,
    server: options.Server = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """The fleet at a glance: how many, in what state, how busy, at what power."""
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.plain import show_json
    from gpufleet_server.cli.settings import access

    with Api(access(server, token), raw=json) as api:
        found = api.get("/summary", {"site": site, "model": models_like(api, model)})
    if json:
        show_json(found)
        return
    from gpufleet_server.cli.render import console, show

    out = console()
    show(summary_view(found, out), out)


def nodes(
    site: options.Sites = None,
    node: options.Nodes = None,
    state: options.NodeStates = None,
    search: options.Search = None,
    simulated: options.Simulated = None,
    server: options.Server = None,
    token: options.Token = None,
    limit: options.Limit = 100,
    all_: options.All = False,
    json: options.Json = False,
) -> None:
    """The nodes: where they are, whether they report, what driver they run."""
    given = {"site": site, "node": node, "state": state, "q": search, "simulated": simulated}
    _list("/nodes", given, server, token, None if all_ else limit, json)


def gpus(
    site: options.Sites = None,
    node: options.Nodes = None,
    model: options.Models = None,
    state: options.GpuStates = None,
    use: options.Uses = None,
    search: options.Search = None,
    simulated: options.Simulated = None,
    sort: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD",
            rich_help_panel="Output",
            help="Order by a metric or field, such as [bold]gpu_temperature[/bold] or [bold]hostname[/bold]; "
            "with [bold]-[/bold] in front the largest first.",
        ),
    ] = None,
    server: options.Server = None,
    token: options.Token = None,
    limit: options.Limit = 100,
    all_: options.All = False,
    json: options.Json = False,
) -> None:
    """The GPUs with their newest values: use, memory, power, temperature."""
    given = {"site": site, "node": node, "model": model, "state": state, "use": use, "q": search}
    _list("/gpus", given | {"simulated": simulated, "sort": sort}, server, token, None if all_ else limit, json)


def _list(
    path: str, given: dict[str, Any], server: str | None, token: str | None, limit: int | None, json: bool
) -> None:
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.plain import show_json
    from gpufleet_server.cli.settings import access

    with Api(access(server, token), raw=json) as api:
        found = api.pages(path, given | {"model": models_like(api, given.get("model"))}, limit)
    if json:
        show_json({"items": found["items"], "total": found["total"]})
        return
    _print(path, found["items"], found["total"], narrowed=any(value is not None for value in given.values()))


def _print(path: str, items: list[Item], total: int, *, narrowed: bool) -> None:
    from gpufleet_server.cli.render import console, show, table

    out, what = console(), {"/gpus": "GPU", "/nodes": "node"}[path]
    if items:
        show(table(items, columns(path, items), out.width), out)
    if not items:
        typer.echo(nothing(what, narrowed=narrowed), err=True)
    elif total > len(items):
        typer.echo(f"{len(items)} of {total} {what}s; --all shows the rest", err=True)


def nothing(what: str, *, narrowed: bool) -> str:
    """What is said where there is nothing to list, of all there is or of what was asked for."""
    return f"no {what} matches" if narrowed else f"no {what}s yet: they appear with an agent's first report"


def models_like(api: "Api", wanted: list[str] | None) -> list[str] | None:
    """The models that contain one of these texts, in upper or lower case. CliError lists the models where none does."""
    if not wanted:
        return None
    known = [group["model"] for group in api.get("/summary")["by_model"] if group["model"]]
    for text in wanted:
        if not any(text.lower() in model.lower() for model in known):
            raise CliError(f"no model contains {text!r}; there are: {', '.join(known) or 'none yet'}")
    return [model for model in known if any(text.lower() in model.lower() for text in wanted)]


def columns(path: str, items: list[Item]) -> "list[Column]":
    """The columns for nodes or GPUs."""
    return _node_columns(items) if path == "/nodes" else gpu_columns(items)


def _node_columns(items: list[Item]) -> "list[Column]":
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column, marks, state

    return [
        Column("NODE", lambda node: units.text(node["hostname"])),
        Column("STATE", lambda node: state(node["state"])),
        *marks(items),
        *_why(items),
        Column("GPUS", lambda node: units.number(node["gpus"]), 1, "right"),
        Column("LAST SEEN", lambda node: units.age(node["last_seen"]), 2, "right"),
        Column("SITE", lambda node: units.text(node["site"]), 3),
        Column("ROOM", lambda node: units.text(node["room"]), 6),
        Column("RACK", lambda node: units.text(node["rack"]), 4),
        Column("DRIVER", lambda node: units.text(node["driver"]["version"]), 5),
        Column("CLOCK", lambda node: _offset(node["clock_offset_s"]), 7, "right"),
        Column("AGENT", lambda node: units.text(node["agent_version"]), 8),
        Column("ID", lambda node: node["id"], 9),
    ]


def _why(items: list[Item]) -> "list[Column]":
    """Since when the driver of a node is not read, and why; only where that is so of one of these nodes."""
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column

    def told(node: Item) -> str:
        driver = node["driver"]
        if driver["state"] == "ok":
            return ""
        return f"{driver['state']} {_for(driver['since'])}{driver['detail'] and ': '}{driver['detail']}"

    def _for(since: str) -> str:
        return units.age(since).removesuffix(" ago")

    return [Column("WHY", told, 1, least=12)] if any(node["driver"]["state"] != "ok" for node in items) else []


def _offset(seconds: float | None) -> str:
    """How far a node's clock is off, from the server's: small offsets are the way of the report."""
    from gpufleet_server.cli.units import ABSENT, duration

    if seconds is None:
        return ABSENT
    if abs(seconds) < 1:
        return "ok"
    return f"{duration(abs(seconds))} {'behind' if seconds > 0 else 'ahead'}"


def current(gpu: Item, metric: str) -> float | None:
    """A metric's value as of now: None also where the GPU does not report, whatever it did last."""
    found: float | None = gpu["metrics"].get(metric, {}).get("value") if gpu["state"] == "reporting" else None
    return found


def gpu_columns(items: list[Item]) -> "list[Column]":
    """The columns for GPUs."""
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column, marks, state

    share = Column("MEM", lambda gpu: _share(current(gpu, "fb_used"), gpu["memory_total"]), 2, "right")
    return [
        Column("NODE", lambda gpu: units.text(gpu["node"]["hostname"])),
        Column("#", lambda gpu: units.text(gpu["index"]), 0, "right"),
        Column("MODEL", _model, 3, least=10),
        Column("STATE", lambda gpu: state(gpu["state"])),
        *marks(items),
        Column("UTIL", lambda gpu: units.percent(current(gpu, "gpu_utilization")), 1, "right"),
        Column(
            "MEMORY", lambda gpu: units.part(current(gpu, "fb_used"), gpu["memory_total"]), 4, "right", instead=share
        ),
        Column("POWER", lambda gpu: units.watts(current(gpu, "power")), 2, "right"),
        Column("TEMP", lambda gpu: units.celsius(current(gpu, "gpu_temperature")), 2, "right"),
        *_holder(items),
        Column("SAMPLE", lambda gpu: units.age(gpu["at"]), 6, "right"),
        Column("SITE", lambda gpu: units.text(gpu["site"]), 5),
        Column("RACK", lambda gpu: units.text(gpu["rack"]), 7),
        Column("SERIAL", lambda gpu: units.text(gpu["serial"]), 8),
        Column("UUID", lambda gpu: gpu["id"], 9),
    ]


def _holder(items: list[Item]) -> "list[Column]":
    """The column of who holds a GPU, where an agent tells of one of these."""
    from gpufleet_server.cli.holders import holders_text
    from gpufleet_server.cli.render import Column

    told = any(gpu.get("holders") is not None for gpu in items)
    return [Column("HOLDER", holders_text, 3, least=8)] if told else []


def _model(gpu: Item) -> str:
    from gpufleet_server.cli import units

    return units.model(gpu["model"]) + (" (MIG)" if gpu.get("mig_mode") == "enabled" else "")


def _share(used: float | None, total: float | None) -> str:
    from gpufleet_server.cli import units

    return units.percent(None if used is None or not total else 100 * used / total)


def summary_view(found: Item, out: "Console") -> "RenderableType":
    """The summary as one thing to print."""
    from rich.console import Group
    from rich.text import Text

    from gpufleet_server.cli.render import facts, table

    parts: list[RenderableType] = [facts(headline(found))]
    for key, title in (("by_model", "MODEL"), ("by_site", "SITE")):
        if found[key]:
            parts += [Text(""), table(found[key], group_columns(key.removeprefix("by_"), title, found[key]), out.width)]
    return Group(*parts)


def headline(found: Item) -> "list[tuple[str, str | Any]]":
    """Totals of a summary as names and values."""
    from gpufleet_server.cli import units

    nodes, gpus, memory = found["nodes"], found["gpus"], found["memory"]
    events = ", ".join(f"{units.event(kind)} {count}" for kind, count in sorted(found["events_24h"].items()))
    return [
        ("GPUs", states(gpus["total"], gpus["by_state"], gpus["simulated"])),
        ("nodes", states(nodes["total"], nodes["by_state"])),
        ("utilisation", _over(units.percent, found["gpu_utilization"], "mean")),
        ("memory", f"{units.part(memory['used'], memory['total'])} used"),
        ("power", _over(units.watts, found["power"], "sum")),
        ("events, 24 h", events or "none"),
    ]


def _over(told: "Callable[[float | None], str]", figure: dict[str, Any], what: str) -> str:
    """A figure, and of how many GPUs it is."""
    if figure["value"] is None:
        return told(None)
    return f"{told(figure['value'])}, {what} of {figure['gpus']} GPU{'s' if figure['gpus'] != 1 else ''}"


def states(total: int, by_state: dict[str, int], simulated: int = 0) -> "Any":
    """A total and what it is made of, each state in its colour, and how many are simulated."""
    from rich.text import Text

    from gpufleet_server.cli.render import state

    told = [Text.assemble(f"{count} ", state(name)) for name, count in by_state.items() if count]
    made = Text(", ").join(told) if told else Text("0")
    if simulated:
        made.append(f", {'all' if simulated == total else simulated} simulated", "magenta")
    return made if len(told) < 2 else Text.assemble(f"{total}: ", made)


def group_columns(key: str, title: str, groups: list[Item]) -> "list[Column]":
    """The columns for totals by model or site. TROUBLE counts GPUs that are lost, unreadable or not heard of."""
    from rich.text import Text

    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column

    def value(group: Item, field: str) -> float | None:
        held = group[field]
        found: float | None = held["value"] if isinstance(held, dict) else held
        return found

    def trouble(group: Item) -> int:
        return sum(count for name, count in group["by_state"].items() if name not in _NO_TROUBLE)

    simulated = [Column("SIMULATED", lambda group: str(group["simulated"]), 0, "right")]
    return [
        Column(title, lambda group: units.model(group[key])),
        Column("GPUS", lambda group: units.number(group["gpus"]), 0, "right"),
        *(simulated if any(group["simulated"] for group in groups) else []),
        Column("TROUBLE", lambda group: Text(str(trouble(group)), style="red" if trouble(group) else ""), 1, "right"),
        Column("UTIL", lambda group: units.percent(value(group, "gpu_utilization")), 2, "right"),
        Column("MEMORY", lambda g: units.part(value(g, "memory_used"), value(g, "memory_total")), 4, "right"),
        Column("POWER", lambda group: units.watts(value(group, "power")), 3, "right"),
    ]
