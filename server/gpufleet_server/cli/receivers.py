"""`gpufleet alerts receivers`: looks at the file that says who is told of alerts, and tries one out."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufleet_server.cli import options
from gpufleet_server.cli.errors import CliError, Commands

if TYPE_CHECKING:
    from gpufleet_server.alerts.delivery.settings import Receivers

app = typer.Typer(cls=Commands, no_args_is_help=True, help="Who is told of alerts: check the file, try one out.")

File = Annotated[
    Path,
    typer.Option(
        "--receivers",
        metavar="FILE",
        envvar="GPUFLEET_RECEIVERS",
        help="Who is told of alerts, TOML: docs/alert-delivery.md.",
    ),
]


@app.command()
def check(receivers: File, json: options.Json = False) -> None:
    """Check the file, and that the secrets it names can be read; nobody is told anything.

    The exit status is 1 where something is missing, 2 where the file is wrong.
    """
    from gpufleet_server.cli.plain import show_json

    found = load(receivers)
    missing = [*found.secrets_missing(), *_not_installed(found)]
    listed = [{"name": name, "kind": kind, "target": target} for name, kind, target in _targets(found)]
    if json:
        show_json({"receivers": listed, "missing": missing})
    else:
        for one in listed:
            typer.echo(f"{one['name']}: {one['kind']} {one['target']}")
    if missing:
        raise CliError("; ".join(missing))
    if not listed:
        typer.echo(f"{receivers} names no receiver", err=True)


@app.command()
def test(name: Annotated[str, typer.Argument(help="A receiver's name in the file.")], receivers: File) -> None:
    """Tell one receiver of an alert that is none, and that it is over; exit status 1 where it does not take them."""
    from gpufleet_server.alerts.delivery.errors import NotDelivered, ReceiversError
    from gpufleet_server.alerts.delivery.trial import try_out

    found = load(receivers)
    if name not in (names := [*found.alertmanager, *found.apprise, *found.webhook]):
        raise CliError(f"{receivers} has no receiver {name!r}; it has {', '.join(names) or 'none'}", 2)
    try:
        for target in try_out(found, name):
            typer.echo(f"{target} takes it", err=True)
    except (NotDelivered, ReceiversError) as error:
        raise CliError(f"{name}: {error}") from error


def load(file: Path) -> "Receivers":
    """The receivers of a file. CliError where it can't be used."""
    from gpufleet_server.alerts.delivery.errors import ReceiversError
    from gpufleet_server.alerts.delivery.settings import load

    try:
        return load(file)
    except ReceiversError as error:
        raise CliError(str(error), 2) from error


def _targets(found: "Receivers") -> list[tuple[str, str, str]]:
    from gpufleet_server.alerts.delivery.settings import shown

    targets: list[tuple[str, str, Any]] = []
    targets += [(name, "alertmanager", " ".join(map(shown, one.urls))) for name, one in found.alertmanager.items()]
    targets += [(name, "apprise", one.urls_file or f"${one.urls_env}") for name, one in found.apprise.items()]
    targets += [(name, "webhook", shown(one.url)) for name, one in found.webhook.items()]
    return targets


def _not_installed(found: "Receivers") -> list[str]:
    from gpufleet_server.alerts.delivery.notification import installed

    missing = "Apprise is not installed: pip install 'gpufleet-server[apprise]'"
    return [f"{name}: {missing}" for name in found.apprise if not installed()]
