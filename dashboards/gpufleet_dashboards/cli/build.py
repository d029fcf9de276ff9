"""`gpufleet dashboards build`: write the boards' JSON."""

from pathlib import Path
from typing import Annotated

import typer


def build(
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Into this folder, which is made; else where it is checked in.")
    ] = None,
) -> None:
    """Write each board as a file that Grafana imports or is provisioned with."""
    from gpufleet_dashboards.cli.files import read, write
    from gpufleet_dashboards.cli.where import checked_in
    from gpufleet_dashboards.rendered import documents

    into = out or checked_in()
    for name, text in documents():
        if read(into / name) != text:
            write(into / name, text)
            typer.echo(str(into / name))
