"""`gpufleet alerts`: what is wrong, who was told, and the rules."""

import typer

from gpufleet_server.cli.alert_export import export
from gpufleet_server.cli.deliveries import deliveries
from gpufleet_server.cli.errors import Commands
from gpufleet_server.cli.receivers import app as receivers

app = typer.Typer(cls=Commands, no_args_is_help=True, help="What is wrong, who was told, and the rules.")
app.command()(deliveries)
app.command()(export)
app.add_typer(receivers, name="receivers")
