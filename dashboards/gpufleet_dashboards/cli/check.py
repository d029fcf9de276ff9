"""`gpufleet dashboards check`: whether the boards are as they must be."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from gpufleet_server.cli.errors import PROBLEM

if TYPE_CHECKING:
    from gpufleet_dashboards.check import Fault


def check(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Boards in this folder; else those that are checked in.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Faults as JSON.")] = False,
) -> None:
    """Check boards: what is built is what lies there; each panel has a unit, a description and its place; links lead
    to boards; Grafana's own model of a dashboard knows all of it. Exit status 1 where something is wrong.
    """
    from gpufleet_dashboards.check import Fault, faults
    from gpufleet_dashboards.cli.where import checked_in, documents_in
    from gpufleet_dashboards.rendered import documents, stale

    own = checked_in() if folder is None else None
    there = documents_in(own or folder or Path())
    found = faults(there)
    if own is not None:
        found += [Fault(name, "file", what) for name, what in stale(own, dict(documents()))]
    _tell(found, len(there), as_json)
    if found:
        raise typer.Exit(PROBLEM)


def _tell(found: list["Fault"], boards: int, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([{"file": each.file, "where": each.where, "what": each.what} for each in found]))
        return
    for each in found:
        typer.echo(str(each))
    if not found:
        typer.echo(f"{boards} boards: nothing is wrong", err=True)
