"""`gpufleet alerts`: what is wrong, who was told, and the rules."""

import typer

from gpufleet_server.cli.alert_export import export
from gpufleet_server.cli.alert_hush import ack, maintenance, resolve, silence, silences
from gpufleet_server.cli.alert_list import alerts, history
from gpufleet_server.cli.alert_rules import rules, test
from gpufleet_server.cli.deliveries import deliveries
from gpufleet_server.cli.errors import Commands
from gpufleet_server.cli.receivers import app as receivers

app = typer.Typer(cls=Commands)
app.callback(invoke_without_command=True)(alerts)
for _command in (history, ack, resolve, silence, maintenance, silences, rules, test):
    app.command()(_command)
app.command()(deliveries)
app.command()(export)
app.add_typer(receivers, name="receivers")
