"""`gpufleet alerts rules` and `test`: the rules as they are in force, and what one would have said."""

from typing import Annotated, Any

import typer

from gpufleet_server.cli import options

Item = dict[str, Any]


def rules(
    rule: Annotated[str | None, typer.Argument(metavar="[RULE]", help="One rule, with its runbook.")] = None,
    server: options.Server = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """The rules with their thresholds, as they are in force on the server."""
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.plain import show_json
    from gpufleet_server.cli.settings import access

    with Api(access(server, token), raw=json) as api:
        found = api.get("/alert-rules" if rule is None else f"/alert-rules/{rule}")
    if json:
        show_json(found)
    elif rule is not None:
        _show_one(found)
    else:
        _show_all(found)


def test(
    rule: Annotated[str, typer.Argument(metavar="RULE", help="Its name in `gpufleet alerts rules`.")],
    at: Annotated[
        str | None, typer.Option(metavar="TIME", help="Then: 1h ago, 2026-03-01T08:00, epoch seconds; else now.")
    ] = None,
    server: options.Server = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """What a rule, as it is in force now, would have said at a time, from what is stored. No alert is touched."""
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.plain import show_json
    from gpufleet_server.cli.settings import access
    from gpufleet_server.cli.times import moment

    with Api(access(server, token), timeout=120, raw=json) as api:
        found = api.get(f"/alert-rules/{rule}/trial", {"at": at and moment(at, "--at")})
    if json:
        show_json(found)
        return
    from gpufleet_server.cli import units
    from gpufleet_server.cli.alert_list import severity_of
    from gpufleet_server.cli.render import Column, console, show, table

    columns = [
        Column("SEVERITY", severity_of),
        Column("STATE", lambda one: "firing" if one["fires"] else "pending"),
        Column("WHAT", lambda one: one["text"], 0, least=20),
        Column("SUBJECT", lambda one: one["subject"], 1),
    ]
    out = console()
    if found["items"]:
        show(table(found["items"], columns, out.width), out)
    then = f"{units.local(found['at'])} {units.zone()}"
    typer.echo(f"{rule} at {then}: {len(found['items']) or 'nothing'}", err=True)


def _show_all(found: Item) -> None:
    from gpufleet_server.cli.alert_list import severity_of
    from gpufleet_server.cli.render import Column, console, show, table

    columns = [
        Column("RULE", lambda rule: rule["name"]),
        Column("SEVERITY", severity_of),
        Column("ON", lambda rule: "yes" if rule["enabled"] else "no"),
        Column("LAST RUN", _last),
        Column("WAITS", lambda rule: _length(rule["wait_s"]), 1, "right"),
        Column("KEEPS", lambda rule: _length(rule["keep_s"]), 2, "right"),
        Column("THRESHOLDS", _thresholds, 1, least=12),
        Column("ABOUT", lambda rule: rule["scope"], 3),
    ]
    out = console()
    show(table(found["items"], columns, out.width), out)
    if not found["evaluated"]:
        typer.echo("this server does not evaluate them", err=True)


def _show_one(rule: Item) -> None:
    from gpufleet_server.cli.alert_list import severity_of
    from gpufleet_server.cli.render import console, facts, show

    pairs = [
        ("rule", rule["name"]), ("severity", severity_of(rule)), ("about", rule["scope"]),
        ("on", "yes" if rule["enabled"] else "no"), ("waits", _length(rule["wait_s"])),
        ("keeps", _length(rule["keep_s"])), ("at once for", ", ".join(rule["on_events"]) or "–"),
        ("held back by", ", ".join(rule["held_by"]) or "–"), ("last run", _last(rule)), ("tells", rule["text"]),
        ("advice", rule["advice"]), ("rests on", rule["source"] or "–"),
    ]  # fmt: skip
    for one in rule["thresholds"]:
        set_ = "" if one["value"] == one["usual"] else f" (usually {one['usual']:g})"
        pairs.append((f"threshold {one['name']}", f"{one['value']:g} {one['unit']}{set_}: {one['source']}"))
    show(facts(pairs), console())
    typer.echo("\n" + rule["runbook"])


def _last(rule: Item) -> str:
    from gpufleet_server.cli import units

    run = rule["last_run"]
    if run is None:
        return "never"
    if run["failures"]:
        return f"failed {run['failures']} times: {run['error']}"
    held = f", {run['held_back']} held back" if run["held_back"] else ""
    return f"{units.age(run['ran_at'])}, {run['found']} found{held}"


def _thresholds(rule: Item) -> str:
    return ", ".join(f"{one['name']} {one['value']:g} {one['unit']}" for one in rule["thresholds"]) or "–"


def _length(seconds: float) -> str:
    from gpufleet_server.cli import units

    return units.duration(seconds) if seconds else "–"
