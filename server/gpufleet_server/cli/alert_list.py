"""`gpufleet alerts` and `gpufleet alerts history`: what is wrong now, what was, and what to do."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from gpufleet_server.cli import options
from gpufleet_server.cli.errors import CliError

Item = dict[str, Any]
_COLOURS = {"critical": "bold red", "warning": "yellow", "info": "blue"}


class Severity(StrEnum):
    """How grave."""

    CRITICAL = "critical"
    WARNING = "warning"
    INFO = "info"


Rules = Annotated[list[str] | None, typer.Option("--rule", metavar="RULE", help="Only of this rule; may be repeated.")]
Severities = Annotated[
    list[Severity] | None, typer.Option("--severity", help="Only of this severity; may be repeated.")
]
Gpu = Annotated[str | None, typer.Option(metavar="ID", help="Only of this GPU: as for `gpufleet gpu`.")]
Firing = Annotated[bool, typer.Option("--firing", help="Only those that fire; so it is without any of these.")]
Pending = Annotated[bool, typer.Option("--pending", help="Only those that do not fire yet.")]
Since = Annotated[
    str | None, typer.Option(metavar="TIME", help="Open then or later: 1h, 2026-03-01T08:00 or epoch seconds.")
]


def alerts(
    ctx: typer.Context,
    firing: Firing = False,
    pending: Pending = False,
    all_: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    rule: Rules = None,
    severity: Severities = None,
    gpu: Gpu = None,
    since: Since = None,
    site: options.Sites = None,
    node: options.Nodes = None,
    server: options.Server = None,
    token: options.Token = None,
    limit: options.Limit = 100,
    json: options.Json = False,
) -> None:
    """What is wrong: alerts that fire, the newest first; and who was told, what to do about it, the rules."""
    if ctx.invoked_subcommand is not None:
        return
    if firing + pending + all_ > 1:
        raise CliError("--firing, --pending and --all don't go together", 2)
    states = [] if all_ else ["pending"] if pending else ["firing"]
    _show(_given(states, rule, severity, site, node, since), gpu, server, token, limit, json)


def history(
    alert: Annotated[int | None, typer.Argument(metavar="[ID]", help="One alert, with all that became of it.")] = None,
    rule: Rules = None,
    severity: Severities = None,
    gpu: Gpu = None,
    since: Since = "7d",
    site: options.Sites = None,
    node: options.Nodes = None,
    server: options.Server = None,
    token: options.Token = None,
    limit: options.Limit = 100,
    json: options.Json = False,
) -> None:
    """Alerts of the past, or all of one: what became of it, what to do."""
    if alert is None:
        _show(_given([], rule, severity, site, node, since), gpu, server, token, limit, json)
    else:
        _one(alert, server, token, json)


def _given(
    states: list[str],
    rule: list[str] | None,
    severity: list[Severity] | None,
    site: list[str] | None,
    node: list[str] | None,
    since: str | None,
) -> Item:
    from gpufleet_server.cli.times import moment

    return {
        "state": states,
        "rule": rule,
        "severity": severity and [each.value for each in severity],
        "site": site,
        "node": node,
        "since": since and moment(since, "--since"),
    }


def _show(given: Item, gpu: str | None, server: str | None, token: str | None, limit: int, json: bool) -> None:
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.gpu import find
    from gpufleet_server.cli.plain import show_json
    from gpufleet_server.cli.settings import access

    with Api(access(server, token), raw=json) as api:
        given["gpu"] = gpu and find(api, gpu)["id"]
        found = api.pages("/alerts", given, limit)
    if json:
        show_json({"items": found["items"], "total": found["total"]})
        return
    from gpufleet_server.cli.render import console, show, table

    out, items = console(), found["items"]
    if items:
        show(table(items, _columns(), out.width), out)
    else:
        typer.echo("no alert matches", err=True)
    if found["next"] is not None:
        typer.echo(f"the newest {len(items)} of {found['total']}; --limit shows more", err=True)


def _columns() -> list[Any]:
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column

    return [
        Column("ID", lambda alert: str(alert["id"]), 0, "right"),
        Column("SEVERITY", severity_of),
        Column("STATE", stands),
        Column("SINCE", lambda alert: units.age(alert["since"]), 1, "right"),
        Column("WHERE", where),
        Column("RULE", lambda alert: alert["rule"]),
        Column("WHAT", lambda alert: alert["text"], 2, least=20),
        Column("TAKEN ON BY", lambda alert: units.text(alert["acknowledged_by"]), 3),
    ]


def severity_of(alert: Item) -> Any:
    """Its severity in its colour."""
    from rich.text import Text

    return Text(alert["severity"], style=_COLOURS.get(alert["severity"], ""))


def stands(alert: Item) -> str:
    """Its state; `held` where it fires and nobody is told."""
    return "held" if alert["state"] == "firing" and alert["held_by"] else str(alert["state"])


def where(alert: Item) -> str:
    """What it is about: a node, a node and the index of its GPU, a rack, a site."""
    labels = alert["labels"]
    if alert["hostname"] is not None or "hostname" in labels:
        host = alert["hostname"] or labels["hostname"]
        if alert["gpu"] is None:
            return str(host)
        return f"{host}/{alert['gpu'] if alert['index'] is None else alert['index']}"
    named = (alert["site"], alert["rack"], labels.get("server"))
    return "/".join(str(part) for part in named if part) or "–"


def _one(alert: int, server: str | None, token: str | None, json: bool) -> None:
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.plain import show_json
    from gpufleet_server.cli.settings import access

    with Api(access(server, token), raw=json) as api:
        found = api.get(f"/alerts/{alert}")
    if json:
        show_json(found)
        return
    show_one(found)


def show_one(found: Item) -> None:
    """One alert with its history and what to do."""
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column, console, facts, show, table

    out = console()
    pairs = [
        ("alert", f"{found['id']}, {found['rule']}"), ("severity", severity_of(found)), ("state", stands(found)),
        ("where", where(found)), ("what", found["text"]),
        (f"since ({units.zone()})", units.local(found["since"])), ("fired", units.local(found["fired_at"])),
        ("over", units.local(found["resolved_at"])), ("held by", units.text(found["held_by"])),
        ("taken on by", units.text(found["acknowledged_by"])), ("why", units.text(found["acknowledged_why"])),
        ("labels", ", ".join(f"{name}={value}" for name, value in sorted(found["labels"].items()))),
        ("advice", found["advice"]),
    ]  # fmt: skip
    show(facts([(name, value) for name, value in pairs if value != units.ABSENT]), out)
    columns = [
        Column(f"TIME ({units.zone()})", lambda entry: units.local(entry["at"])),
        Column("CHANGE", lambda entry: entry["change"]),
        Column("BY", lambda entry: units.text(entry["by"] or None)),
        Column("WHAT", lambda entry: units.text(entry["text"] or None), 1, least=20),
    ]
    typer.echo("")
    show(table(found["history"], columns, out.width), out)
    if found["runbook"]:
        typer.echo("\n" + found["runbook"])
