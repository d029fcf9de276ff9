"""`gpufleet dashboards diff`: what building, or pushing, would change."""

import json
from pathlib import Path
from typing import Annotated

import typer
from gpufleet_server.cli.errors import PROBLEM


def diff(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Boards exported from a Grafana, *.json; else those that are checked in."),
    ] = None,
) -> None:
    """Show how boards that lie in a folder differ from what is built now.

    They are told by their uid. What Grafana numbers itself, and what it fills in, is left out. Exit status 1 where
    something differs.
    """
    from gpufleet_dashboards.cli.where import checked_in, documents_in
    from gpufleet_dashboards.diff import difference
    from gpufleet_dashboards.rendered import documents

    there = {each.get("uid"): each for each in documents_in(folder or checked_in()).values()}
    lines = []
    for name, text in documents():
        built = json.loads(text)
        lines += difference(name, there.get(built["uid"]), built)
    typer.echo("\n".join(lines), nl=bool(lines))
    if lines:
        raise typer.Exit(PROBLEM)
