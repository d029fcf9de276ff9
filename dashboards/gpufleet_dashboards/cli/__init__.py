"""`gpufleet dashboards`: boards for Grafana, written, checked and pushed. Modules load what they need when run."""

import typer
from gpufleet_server.cli.errors import Commands

from gpufleet_dashboards.cli.build import build
from gpufleet_dashboards.cli.check import check
from gpufleet_dashboards.cli.diff import diff
from gpufleet_dashboards.cli.provision import provision
from gpufleet_dashboards.cli.push import push

app = typer.Typer(cls=Commands, no_args_is_help=True)
for _command in (build, check, diff, push, provision):
    app.command()(_command)


@app.callback()
def dashboards() -> None:
    """Boards for Grafana over the store on PostgreSQL.

    Grafana reads the views of the schema grafana with a role of its own: gpufleet db grant-reader.
    """
