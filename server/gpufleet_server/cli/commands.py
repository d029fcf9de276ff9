"""All commands under one name."""

from typing import Annotated

import typer

from gpufleet_server import __version__
from gpufleet_server.cli.alerts import app as alerts
from gpufleet_server.cli.db import app as db
from gpufleet_server.cli.demo import demo
from gpufleet_server.cli.events import events
from gpufleet_server.cli.fleet import gpus, nodes, summary
from gpufleet_server.cli.gpu import gpu
from gpufleet_server.cli.history import history, quantiles, use
from gpufleet_server.cli.others import WithOthers
from gpufleet_server.cli.serve import serve
from gpufleet_server.cli.simulate import simulate
from gpufleet_server.cli.token import app as token
from gpufleet_server.cli.top import top
from gpufleet_server.cli.up import up
from gpufleet_server.cli.usage import usage
from gpufleet_server.cli.xid import xid

_SEEING = "See a fleet"
_RUNNING = "Run a server"

app = typer.Typer(
    cls=WithOthers,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit status: 0 fine; 1 a problem, told on stderr; 2 wrong usage; 130 ended by Ctrl-C.",
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gpufleet {__version__}")
        raise typer.Exit


@app.callback()
def gpufleet(
    _: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """What GPUs do we own, where are they, are they healthy, what are they doing?

    Start with [bold]gpufleet up[/bold] on a machine with GPUs, or with [bold]gpufleet demo[/bold] on any.
    """


app.command(rich_help_panel=_RUNNING)(up)
app.command(rich_help_panel=_RUNNING)(demo)
app.command(rich_help_panel=_RUNNING)(serve)
app.command(rich_help_panel=_RUNNING)(simulate)
app.add_typer(token, name="token", rich_help_panel=_RUNNING)
app.add_typer(db, name="db", rich_help_panel=_RUNNING)
app.add_typer(alerts, name="alerts", rich_help_panel=_SEEING)
app.command(rich_help_panel=_SEEING)(summary)
app.command(rich_help_panel=_SEEING)(nodes)
app.command(rich_help_panel=_SEEING)(gpus)
app.command(rich_help_panel=_SEEING)(gpu)
app.command(rich_help_panel=_SEEING)(events)
app.command(rich_help_panel=_SEEING)(history)
app.command(rich_help_panel=_SEEING)(use)
app.command(rich_help_panel=_SEEING)(usage)
app.command(rich_help_panel=_SEEING)(quantiles)
app.command(rich_help_panel=_SEEING)(top)
app.command(rich_help_panel=_SEEING)(xid)
