"""`gpufleet alerts deliveries`: what webhooks and Apprise were told, and what was given up."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from gpufleet_server.cli import options
from gpufleet_server.cli.errors import CliError

Item = dict[str, Any]


class State(StrEnum):
    """How it stands with a delivery."""

    WAITING = "waiting"
    DELIVERED = "delivered"
    DEAD = "dead"


def deliveries(
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    receiver: Annotated[str | None, typer.Option(metavar="NAME", help="Only those for this receiver.")] = None,
    alert: Annotated[int | None, typer.Option(metavar="ID", help="Only those of this alert.")] = None,
    retry: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID|all", help="Try a dead one again for a day, or all; may be repeated. For admin tokens."
        ),
    ] = None,
    server: options.Server = None,
    token: options.Token = None,
    limit: options.Limit = 50,
    all_: options.All = False,
    json: options.Json = False,
) -> None:
    """What webhooks and Apprise were told of alerts, or still have to be; newest first.

    What a receiver does not take is tried again for a day; then it is dead, and stays here. Alertmanagers have no part
    in this: they are told all that fires, again and again.
    """
    from gpufleet_server.cli.client import Api
    from gpufleet_server.cli.settings import access

    with Api(access(server, token), raw=json) as api:
        if retry:
            _retry(api, retry)
            return
        given = {"state": state and state.value, "receiver": receiver, "alert": alert}
        found = api.pages("/deliveries", given, None if all_ else limit)
    _print(found, json)


def _retry(api: Any, which: list[str]) -> None:
    numbers = [one for one in which if one != "all"]
    if "all" in which and numbers:
        raise CliError("--retry all and --retry ID don't go together", 2)
    if bad := [one for one in numbers if not (one.isascii() and one.isdigit())]:
        raise CliError(f"--retry {bad[0]!r} is no id of a delivery, nor `all`", 2)
    done = api.post("/deliveries/retry", {"ids": [int(one) for one in numbers]} if numbers else {})["count"]
    if numbers and not done:
        raise CliError("none of these is dead; `gpufleet alerts deliveries --state dead` shows those that are")
    typer.echo(f"{done} will be tried again", err=True)


def _print(found: Item, json: bool) -> None:
    from gpufleet_server.cli.plain import show_json

    if json:
        show_json({"items": found["items"], "receivers": found["receivers"]})
        return
    from gpufleet_server.cli.render import console, show, table

    out, items = console(), found["items"]
    if items:
        show(table(items, _columns(), out.width), out)
    else:
        typer.echo("no delivery matches", err=True)
    for one in found["receivers"]:
        counts = ", ".join(f"{one[state]:,} {state}" for state in State if one[state])
        typer.echo(f"{one['receiver']}: {counts}", err=True)


def _columns() -> list[Any]:
    from gpufleet_server.cli import units
    from gpufleet_server.cli.render import Column

    return [
        Column("ID", lambda it: str(it["id"]), 0, "right"),
        Column("MADE", lambda it: units.age(it["created_at"]), 1, "right"),
        Column("RECEIVER", lambda it: it["receiver"]),
        Column("ALERT", lambda it: str(it["alert"]), 0, "right"),
        Column("RULE", lambda it: units.text(it["alert_told"].get("rule"))),
        Column("CHANGE", lambda it: it["change"]),
        Column("STATE", lambda it: it["state"]),
        Column("TRIES", lambda it: str(it["attempts"]), 2, "right"),
        Column("ERROR", lambda it: it["error"], 3, least=8),
    ]
