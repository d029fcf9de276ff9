"""`gpufleet dashboards push`: boards and what they need, put into a Grafana that runs."""

import json
from typing import TYPE_CHECKING, Annotated

import typer
from gpufleet_server.cli.errors import CliError

from gpufleet_dashboards.cli import reaching

if TYPE_CHECKING:
    from gpufleet_dashboards.push.apply import Result
    from gpufleet_dashboards.push.plan import Plan

_KEPT = 4


def push(
    url: Annotated[str, typer.Option(metavar="URL", help="Grafana's, with its path if it has one.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what people changed in Grafana.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written, and write nothing.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Say it as JSON.")] = False,
    folder: reaching.FolderName = "gpufleet",
    ca_file: reaching.CaFile = None,
    timeout: reaching.Timeout = 30.0,
    address: reaching.Address = None,
    database: reaching.Database = "gpufleet",
    role: reaching.Role = "gpufleet_reader",
    sslmode: reaching.SslMode = "require",
    sslrootcert: reaching.SslRootCert = "",
    set_password: Annotated[
        bool,
        typer.Option("--set-password", help="Send the password though one is set.", rich_help_panel="Data source"),
    ] = False,
    no_datasource: reaching.NoSource = False,
    alerts: reaching.WithRules = False,
    alert_rules: reaching.RulesFile = None,
    alert_datasource: reaching.RulesSource = "gpufleet-pg",
    xids: reaching.XidsFile = None,
) -> None:
    """Put the boards into a Grafana that runs; folder and data source are made where they are missing.

    Who asks is read from the environment: GRAFANA_TOKEN, a token of a service account with the role Admin, or
    GRAFANA_USER and GRAFANA_PASSWORD. What people changed in Grafana is kept. Pushing again changes nothing.

    Exit status: 0 all is as wanted; 1 it is not; 4 something that people changed was kept, and this release has it
    otherwise.
    """
    settings = reaching.source(address, database, role, sslmode, sslrootcert, renew=set_password)
    rules = reaching.groups(alerts, alert_rules, alert_datasource, folder, xids)
    sought = reaching.wanted(folder, settings, no_datasource, rules)
    with reaching.asking(url, ca_file, timeout) as grafana:
        from gpufleet_dashboards.push.apply import apply
        from gpufleet_dashboards.push.plan import plan

        found = plan(grafana, sought, overwrite=overwrite)
        if dry_run:
            _tell_plan(found, grafana.access.url, as_json)
        else:
            _tell(apply(found.steps), found.version, grafana.access.url, as_json)
    if alerts:
        reaching.warn_of_rules(role, alert_datasource)
    if any(step.behind for step in found.steps):
        raise typer.Exit(_KEPT)


def _tell_plan(found: "Plan", url: str, as_json: bool) -> None:
    from gpufleet_dashboards.push import report

    if as_json:
        typer.echo(json.dumps(report.would_json(found, url), indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(report.would(found, url)))


def _tell(result: "Result", version: str, url: str, as_json: bool) -> None:
    from gpufleet_dashboards.push import report

    if as_json:
        typer.echo(json.dumps(report.outcome_json(result, url, version), indent=2, ensure_ascii=False))
    else:
        typer.echo("\n".join(report.lines(result, url, version)))
    if result.error is not None:
        raise CliError(f"{result.error}\n{report.cut_short(result.outcomes)}")
