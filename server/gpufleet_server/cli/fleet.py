"""`gpufleet summary | nodes | gpus`: the fleet, its nodes, its GPUs."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufleet_server.cli import options

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from gpufleet_server.cli.render import Column

Item = dict[str, Any]


def summary(
    site: options.Sites = None,
    model: options.Models = None,
    server: options.Server = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """The fleet at a glance: how many, in what state, how busy, at what power."""
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.render import console, show, show_json
    from gpufleet_server.cli.settings import access

    with Api(access(server, token)) as api:
        found = api.get("/summary", {"site": site, "model": model})
    if json:
        show_json(found)
        return
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
    given = {"site": site, "node": node, "model": model, "state": state, "q": search, "simulated": simulated}
    _list("/gpus", given | {"sort": sort}, server, token, None if all_ else limit, json)


def _list(
    path: str, given: dict[str, Any], server: str | None, token: str | None, limit: int | None, json: bool
) -> None:
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.render import console, show, show_json, table
    from gpufleet_server.cli.settings import access

    with Api(access(server, token)) as api:
        items, total = api.pages(path, given, limit)
    if json:
        show_json({"items": items, "total": total})
        return
    out = console()
    if items:
        show(table(items, columns(path, items), out.width), out)
    _tell_rest(path.strip("/"), len(items), total)


def _tell_rest(what: str, shown: int, total: int | None) -> None:
    if not shown:
        typer.echo(f"no {what} of this kind" if total == 0 else f"no {what}", err=True)
    elif total is not None and total > shown:
        typer.echo(f"{shown} of {total} {what}; --all shows the rest", err=True)


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

    return [
        Column("NODE", lambda gpu: units.text(gpu["node"]["hostname"])),
        Column("#", lambda gpu: units.text(gpu["index"]), 0, "right"),
        Column("MODEL", lambda gpu: units.model(gpu["model"]), 3),
        Column("STATE", lambda gpu: state(gpu["state"])),
        *marks(items),
        Column("UTIL", lambda gpu: units.percent(current(gpu, "gpu_utilization")), 1, "right"),
        Column("MEMORY", lambda gpu: units.part(current(gpu, "fb_used"), gpu["memory_total"]), 4, "right"),
        Column("POWER", lambda gpu: units.watts(current(gpu, "power")), 2, "right"),
        Column("TEMP", lambda gpu: units.celsius(current(gpu, "gpu_temperature")), 2, "right"),
        Column("SAMPLE", lambda gpu: units.age(gpu["at"]), 6, "right"),
        Column("SITE", lambda gpu: units.text(gpu["site"]), 5),
        Column("RACK", lambda gpu: units.text(gpu["rack"]), 7),
        Column("SERIAL", lambda gpu: units.text(gpu["serial"]), 8),
        Column("UUID", lambda gpu: gpu["id"], 9),
    ]


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

    nodes, gpus, busy, memory = found["nodes"], found["gpus"], found["gpu_utilization"], found["memory"]
    simulated = f", {gpus['simulated']} of them simulated" if gpus["simulated"] else ""
    events = ", ".join(f"{units.words(kind)} {count}" for kind, count in sorted(found["events_24h"].items()))
    return [
        ("GPUs", states(gpus["total"], gpus["by_state"], simulated)),
        ("nodes", states(nodes["total"], nodes["by_state"], "")),
        ("utilisation", f"{units.percent(busy['value'])}, mean of {busy['gpus']} GPUs"),
        ("memory", units.part(memory["used"], memory["total"])),
        ("power", f"{units.watts(found['power']['value'])}, of {found['power']['gpus']} GPUs"),
        ("events, 24 h", events or "none"),
    ]


def states(total: int, by_state: dict[str, int], simulated: str) -> "Any":
    """A total and what it is made of, each state in its colour."""
    from rich.text import Text

    from gpufleet_server.cli.render import state

    told = [Text.assemble(f"{count} ", state(name)) for name, count in by_state.items() if count]
    return Text.assemble(str(total), ": " if told else "", Text(", ").join(told), (simulated, "magenta"))


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
        return sum(count for name, count in group["by_state"].items() if name not in ("reporting", "removed"))

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
