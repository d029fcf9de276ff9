"""`gpufleet dashboards diff`: what building, or pushing, would change."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from gpufleet_server.cli.errors import PROBLEM, CliError

from gpufleet_dashboards.cli import reaching

if TYPE_CHECKING:
    from gpufleet_dashboards.push.plan import Wanted


def diff(
    folder: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Boards exported from a Grafana, *.json; else those that are checked in."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(metavar="URL", help="Those in this Grafana; who asks is told as to push.")
    ] = None,
    grafana_folder: reaching.FolderName = "gpufleet",
    ca_file: reaching.CaFile = None,
    timeout: reaching.Timeout = 30.0,
    alerts: reaching.WithRules = False,
    alert_rules: reaching.RulesFile = None,
    alert_datasource: reaching.RulesSource = "gpufleet-pg",
    xids: reaching.XidsFile = None,
) -> None:
    """Show how boards that lie in a folder, or are in a Grafana, differ from what is built now.

    They are told by their uid. What Grafana numbers itself, and what it fills in, is left out. Exit status 1 where
    something differs.
    """
    if url is not None:
        if folder is not None:
            raise CliError("a folder and --url are either or", 2)
        rules = reaching.groups(alerts, alert_rules, alert_datasource, grafana_folder, xids)
        _tell(_in_grafana(url, reaching.wanted(grafana_folder, None, True, rules), ca_file, timeout))
        return
    _tell(_in_folder(folder))


def _in_grafana(url: str, sought: "Wanted", ca_file: Path | None, timeout: float) -> list[str]:
    with reaching.asking(url, ca_file, timeout) as grafana:
        from gpufleet_dashboards.push.plan import plan
        from gpufleet_dashboards.push.report import differences

        return list(differences(plan(grafana, sought, check=False)))


def _in_folder(folder: Path | None) -> list[str]:
    from gpufleet_dashboards.cli.where import checked_in, documents_in
    from gpufleet_dashboards.diff import difference
    from gpufleet_dashboards.rendered import documents

    there = {each.get("uid"): each for each in documents_in(folder or checked_in()).values()}
    lines: list[str] = []
    for name, text in documents():
        built = json.loads(text)
        lines += difference(name, there.get(built["uid"]), built)
    return lines


def _tell(lines: list[str]) -> None:
    typer.echo("\n".join(lines), nl=bool(lines))
    if lines:
        raise typer.Exit(PROBLEM)
