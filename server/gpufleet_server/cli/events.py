"""`gpufleet events`: what happened, or what happens."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufleet_server.cli import options
from gpufleet_server.cli.errors import CliError, Unreachable

if TYPE_CHECKING:
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.render import Column

Item = dict[str, Any]

_LOOK_EVERY = 0.4


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on and show events as they come.")] = False,
    since: Annotated[
        str | None, typer.Option(metavar="TIME", help="From then on: 1h, 2026-03-01T08:00 or epoch seconds.")
    ] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Until before then.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option(metavar="KIND", help="Only of this kind, such as xid or gpu_lost; may be repeated."),
    ] = None,
    code: Annotated[int | None, typer.Option(metavar="XID", help="Only of this code.")] = None,
    gpu: Annotated[str | None, typer.Option(metavar="ID", help="Only of this GPU: as for `gpufleet gpu`.")] = None,
    site: options.Sites = None,
    node: options.Nodes = None,
    server: options.Server = None,
    token: options.Token = None,
    limit: options.Limit = 50,
    all_: options.All = False,
    json: options.Json = False,
) -> None:
    """Events, newest last: XIDs, lost GPUs, swaps, changed drivers. Each happened once."""
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.gpu import find
    from gpufleet_server.cli.settings import access
    from gpufleet_server.cli.times import moment

    if follow and until:
        raise CliError("--follow and --until don't go together", 2)
    given: dict[str, Any] = {"site": site, "node": node, "kind": kind, "code": code}
    times = {"since": since and moment(since, "--since"), "until": until and moment(until, "--until")}
    with Api(access(server, token), raw=json) as api:
        given["gpu"] = gpu and find(api, gpu)["id"]
        found = api.pages("/events", given | times, None if all_ else limit)
        if follow:
            _follow(api, given, found, json)
            return
    _print(found, json)


def _print(found: Item, json: bool) -> None:
    if json:
        from gpufleet_server.cli.plain import show_json

        show_json({"items": found["items"]})
        return
    from gpufleet_server.cli.render import console, show, table

    out, items = console(), found["items"]
    if items:
        show(table(reversed(items), columns(items), out.width), out)
    else:
        typer.echo("no event matches", err=True)
    if found["next"] is not None:
        typer.echo(f"the newest {len(items)}; --all shows older ones too", err=True)


def columns(found: list[Item]) -> "list[Column]":
    """The columns for events."""
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column, marks

    return [
        Column(f"TIME ({units.zone()})", lambda event: units.local(event["at"])),
        Column("NODE/GPU", where),
        *marks(found),
        Column("EVENT", title),
        Column("MESSAGE", message, 1, least=8),
        Column("SITE", lambda event: units.text(event["site"]), 2),
        Column("SOURCE", lambda event: event["source"], 3),
        Column("UUID", lambda event: units.text(event["partition"] or event["gpu"]), 4),
    ]


def where(event: Item) -> str:
    """The node of an event, with the index of the GPU if it is one GPU's: what `gpufleet gpu` takes."""
    host = str(event["node"]["hostname"])
    if event["gpu"] is None:
        return host
    return f"{host}/{event['gpu'] if event.get('index') is None else event['index']}"


def title(event: Item) -> Any:
    """Kind and code of an event, such as `XID 79`; grave ones in red."""
    from rich.text import Text

    from gpufleet_server.cli import units

    text = units.event(event["kind"]) + (f" {event['code']}" if event["code"] is not None else "")
    grave = event["kind"] in ("xid", "gpu_lost", "driver_failed", "driver_unresponsive")
    return Text(text, style="red" if grave else "")


def message(event: Item) -> str:
    """What is said of an event, without what stands beside it."""
    return str(event["message"]).replace(f" {event['gpu']}", "")


def _follow(api: "Api", given: dict[str, Any], first: Item, json: bool) -> None:
    """Print events one by one until Ctrl-C: those that are there already, then what comes."""
    for event in _stream(api, given, first):
        if json:
            from gpufleet_server.cli.plain import json_text

            typer.echo(json_text(event))
        else:
            from gpufleet_server.cli.render import console

            console().print(_line(event), soft_wrap=True)


def _stream(api: "Api", given: dict[str, Any], first: Item) -> Iterator[Item]:
    yield from reversed(first["items"])
    last, seen, troubled = first["last_id"], {event["id"] for event in first["items"]}, False
    while True:
        time.sleep(_LOOK_EVERY)
        try:
            found = api.pages("/events", given | {"after": last}, None)
        except Unreachable as error:
            if not troubled:
                typer.echo(f"gpufleet: {error}; trying on", err=True)
            troubled = True
            continue
        troubled = False
        # What came while the first listing was made is in both.
        yield from (event for event in found["items"] if event["id"] not in seen)
        last = max([found["last_id"], *(event["id"] for event in found["items"])])


def _line(event: Item) -> Any:
    from rich.text import Text

    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import mark

    line = Text.assemble(f"{units.local(event['at'])} {units.zone()}  {where(event)}  ")
    if event["simulated"]:
        line.append(mark(event)).append("  ")
    line.append(title(event))
    return line.append(f"  {message(event)}" if event["message"] else "")
