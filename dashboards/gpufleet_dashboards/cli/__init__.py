"""`gpufleet dashboards`: boards for Grafana, written, checked and pushed. Modules load what they need when run."""

import typer
from gpufleet_server.cli.errors import Commands

from gpufleet_dashboards.cli.build import build

app = typer.Typer(cls=Commands, no_args_is_help=True)
app.command()(build)


@app.callback()
def dashboards() -> None:
    """Boards for Grafana over the store on PostgreSQL.

    Grafana reads the views of the schema grafana with a role of its own: gpufleet db grant-reader.
    """
