"""`gpufleet events`: what happened, or what happens."""

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufleet_server.cli import options

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
    gpu: Annotated[str | None, typer.Option(metavar="UUID", help="Only of this GPU.")] = None,
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
    from gpufleet_server.cli.settings import access
    from gpufleet_server.cli.times import moment

    given: dict[str, Any] = {"site": site, "node": node, "gpu": gpu, "kind": kind, "code": code}
    times = {"since": since and moment(since, "--since"), "until": until and moment(until, "--until")}
    with Api(access(server, token)) as api:
        if follow:
            _follow(api, given, times["since"], limit, json)
            return
        found, total = api.pages("/events", given | times, None if all_ else limit)
    _print(found, total, json)


def _print(found: list[Item], total: int | None, json: bool) -> None:
    from gpufleet_server.cli.render import console, show, show_json, table

    if json:
        show_json({"items": found, "total": total})
        return
    out = console()
    if found:
        show(table(reversed(found), columns(found), out.width), out)
    else:
        typer.echo("no events of this kind", err=True)
    if total is not None and total > len(found):
        typer.echo(f"the newest {len(found)} of {total} events; --all shows the rest", err=True)


def columns(found: list[Item]) -> "list[Column]":
    """The columns for events."""
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column, marks

    return [
        Column(f"TIME ({units.zone()})", lambda event: units.local(event["at"])),
        Column("KIND", title),
        Column("NODE", lambda event: event["node"]["hostname"]),
        *marks(found),
        Column("GPU", lambda event: units.text(event["gpu"]), 2),
        Column("SOURCE", lambda event: event["source"], 4),
        Column("SITE", lambda event: units.text(event["site"]), 3),
        Column("MESSAGE", lambda event: event["message"], 1),
    ]


def title(event: Item) -> Any:
    """Kind and code of an event, such as `xid 79`; grave ones in red."""
    from rich.text import Text

    from gpufleet_server.cli.units import words

    text = words(event["kind"]) + (f" {event['code']}" if event["code"] is not None else "")
    grave = event["kind"] in ("xid", "gpu_lost", "driver_failed", "driver_unresponsive")
    return Text(text, style="red" if grave else "")


def _follow(api: "Api", given: dict[str, Any], since: str | None, limit: int, json: bool) -> None:
    """Print events one by one until Ctrl-C; first the newest that are there already."""
    from gpufleet_server.cli.render import console

    first, _ = api.pages("/events", given | {"since": since}, limit)
    out = console()
    for event in _stream(api, given, first):
        if json:
            import msgspec

            typer.echo(msgspec.json.encode(event).decode())
        else:
            out.print(_line(event), soft_wrap=True)


def _stream(api: "Api", given: dict[str, Any], first: list[Item]) -> Iterator[Item]:
    yield from reversed(first)
    last = max((event["id"] for event in first), default=None)
    if last is None:
        newest, _ = api.pages("/events", {}, 1)
        last = newest[0]["id"] if newest else 0
    while True:
        time.sleep(_LOOK_EVERY)
        found, _ = api.pages("/events", given | {"after": last}, None)
        yield from found
        last = max([last, *(event["id"] for event in found)])


def _line(event: Item) -> Any:
    from rich.text import Text

    from gpufleet_server.cli.render import mark
    from gpufleet_server.cli.units import local

    line = Text.assemble(local(event["at"]), "  ", title(event), "  ", event["node"]["hostname"])
    for part in (event["gpu"], mark(event) if event["simulated"] else None, event["message"]):
        if part:
            line.append("  ").append(part)
    return line
