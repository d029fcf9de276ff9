"""`gpufleet alerts ack | resolve | silence | maintenance | silences`: who takes what on, and what nobody is told of."""

import getpass
from typing import Annotated, Any

import typer

from gpufleet_server.cli import options
from gpufleet_server.cli.errors import CliError

Item = dict[str, Any]

Why = Annotated[str, typer.Option(metavar="TEXT", help="Why: for who reads it later.")]
By = Annotated[str | None, typer.Option(metavar="NAME", help="Who does it; else who you are on this machine.")]
For = Annotated[str, typer.Option("--for", metavar="TIME", help="For how long, such as 2h or 3d.")]
From = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="From when: 2026-03-01T08:00 or epoch seconds; else now.")
]


def ack(
    alert: Annotated[int, typer.Argument(metavar="ID", help="Its number in `gpufleet alerts`.")],
    why: Why,
    by: By = None,
    server: options.Server = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Say that you have taken an alert on. For admin tokens. Receivers are told of it as before."""
    from gpufleet_server.cli.alert_list import show_one

    found = _posted(f"/alerts/{alert}/ack", {"by": by or _me(), "why": why}, server, token, json)
    if found is not None:
        show_one(found)


def resolve(
    alert: Annotated[int, typer.Argument(metavar="ID", help="Its number in `gpufleet alerts`.")],
    why: Why,
    by: By = None,
    server: options.Server = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Say that what an alert over XIDs or SXIDs tells of is over, such as after a reset of the GPU. For admin tokens.

    It ends with the next round of evaluation, and so do the others of this kind of the same GPU. All other alerts end
    when what they tell of does.
    """
    from gpufleet_server.cli.alert_list import show_one

    found = _posted(f"/alerts/{alert}/resolve", {"by": by or _me(), "why": why}, server, token, json)
    if found is not None:
        show_one(found)


def silence(
    matchers: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="LABEL=VALUE...", help="All have to match; * stands for anything: alertname=xid_* hostname=gpu-07."
        ),
    ] = None,
    why: Why = "",
    length: For = "2h",
    start: From = None,
    by: By = None,
    alert: Annotated[int | None, typer.Option(metavar="ID", help="Exactly this alert.")] = None,
    end: Annotated[int | None, typer.Option(metavar="ID", help="End a silence before its time.")] = None,
    server: options.Server = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Have nobody told of the alerts that match, for a time. For admin tokens.

    They are evaluated and shown as always, as held; those that still fire when it ends are told then.
    """
    if end is not None:
        _end(end, by, server, token)
        return
    given = _labels(matchers or [])
    if alert is not None:
        given |= _of_alert(alert, server, token)
    _make("silence", given, why, length, start, by, server, token, json)


def maintenance(
    node: Annotated[list[str] | None, typer.Option(metavar="NODE", help="A node: its hostname.")] = None,
    rack: Annotated[str | None, typer.Option(help="A rack; with --site where racks of several have its name.")] = None,
    site: Annotated[str | None, typer.Option(help="A site.")] = None,
    matchers: Annotated[
        list[str] | None, typer.Argument(metavar="LABEL=VALUE...", help="Other labels of alerts, as for silence.")
    ] = None,
    why: Why = "",
    length: For = "2h",
    start: From = None,
    by: By = None,
    end: Annotated[int | None, typer.Option(metavar="ID", help="End a window before its time.")] = None,
    server: options.Server = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """A window in which nobody is told of alerts of a node, a rack or a site. For admin tokens.

    One window a node where several are given. On the node itself `gpufleet-agent pause` has the agent let go of the
    driver as well.
    """
    if end is not None:
        _end(end, by, server, token)
        return
    place = {name: value for name, value in (("rack", rack), ("site", site)) if value is not None}
    hosts = [{"hostname": host} for host in node or []]
    for host in hosts or [{}]:
        _make("maintenance", _labels(matchers or []) | place | host, why, length, start, by, server, token, json)


def silences(
    over: Annotated[bool, typer.Option("--all", help="Also those that are over.")] = False,
    server: options.Server = None,
    token: options.Token = None,
    json: options.Json = False,
) -> None:
    """Silences and maintenance windows that hold, or are to come."""
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.plain import show_json
    from gpufleet_server.cli.settings import access

    with Api(access(server, token), raw=json) as api:
        found = api.get("/silences", {"over": over})
    if json:
        show_json(found)
        return
    from gpufleet_server.cli.render import console, show, table

    out = console()
    if found["items"]:
        show(table(found["items"], _columns(), out.width), out)
    else:
        typer.echo("nothing is silenced", err=True)


def _columns() -> list[Any]:
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column

    return [
        Column("ID", lambda one: str(one["id"]), 0, "right"),
        Column("KIND", lambda one: one["kind"]),
        Column("STATE", lambda one: one["state"]),
        Column("WHICH", _which, 0, least=20),
        Column(f"UNTIL ({units.zone()})", lambda one: units.local(one["ends_at"])),
        Column("FROM", lambda one: units.local(one["starts_at"]), 3),
        Column("BY", lambda one: one["by"], 1),
        Column("WHY", lambda one: one["why"], 2, least=12),
    ]


def _which(one: Item) -> str:
    return " ".join(f"{name}={value}" for name, value in sorted(one["matchers"].items()))


def _labels(matchers: list[str]) -> dict[str, str]:
    found = {}
    for one in matchers:
        name, sign, value = one.partition("=")
        if not sign or not name or not value:
            raise CliError(f"{one!r} is no LABEL=VALUE, such as hostname=gpu-07", 2)
        found[name] = value
    return found


def _of_alert(alert: int, server: str | None, token: str | None) -> dict[str, str]:
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.settings import access

    with Api(access(server, token), raw=True) as api:
        found = api.get(f"/alerts/{alert}")
    return {**found["labels"], "alertname": found["rule"]}


def _make(
    kind: str,
    matchers: dict[str, str],
    why: str,
    length: str,
    start: str | None,
    by: str | None,
    server: str | None,
    token: str | None,
    json: bool,
) -> None:
    from gpufleet_server.cli import times, units
    from gpufleet_server.domain import clock
    from gpufleet_server.domain.times import iso, parse

    if not why:
        raise CliError("--why: say why, for who wonders later", 2)
    if not matchers:
        raise CliError("which alerts? Name labels, such as hostname=gpu-07, or an alert", 2)
    begin = None if start is None else times.moment(start, "--from")
    begins = clock.now() if begin is None else parse(begin)
    body: Item = {"kind": kind, "matchers": matchers, "by": by or _me(), "why": why}
    body |= {"ends_at": iso(begins + times.length(length, "--for"))} | ({} if begin is None else {"starts_at": begin})
    made = _posted("/silences", body, server, token, json)
    if made is not None:
        until = f"{units.local(made['ends_at'])} {units.zone()}"
        typer.echo(f"{kind} {made['id']}: {_which(made)}, until {until}", err=True)


def _end(number: int, by: str | None, server: str | None, token: str | None) -> None:
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.settings import access

    with Api(access(server, token)) as api:
        api.delete(f"/silences/{number}", {"by": by or _me()})
    typer.echo(f"{number} is over", err=True)


def _posted(path: str, body: Item, server: str | None, token: str | None, json: bool) -> Item | None:
    """What is answered; None where it was printed as it is."""
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.plain import show_json
    from gpufleet_server.cli.settings import access

    with Api(access(server, token), raw=json) as api:
        found = api.post(path, body)
    if json:
        show_json(found)
        return None
    return found


def _me() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        # No name for this user id, as in many a container.
        raise CliError("--by: say who you are; this machine has no name for you", 2) from None
