"""`gpufleet dashboards provision`: files with which a Grafana starts and has the boards."""

from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer
from gpufleet_server.cli.errors import CliError

from gpufleet_dashboards.cli import reaching

_SOURCE = "Data source"


def provision(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Into this folder, which is made.")],
    at: Annotated[
        str,
        typer.Option(metavar="PATH", help="Where that folder is on Grafana's machine, or in its container; else DIR."),
    ] = "",
    address: Annotated[
        str, typer.Option(metavar="HOST:PORT", help="PostgreSQL, as Grafana reaches it.", rich_help_panel=_SOURCE)
    ] = "localhost:5432",
    database: Annotated[str, typer.Option(metavar="NAME", help="The store.", rich_help_panel=_SOURCE)] = "gpufleet",
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="Made by gpufleet db grant-reader.", rich_help_panel=_SOURCE)
    ] = "gpufleet_reader",
    sslmode: reaching.SslMode = "require",
    sslrootcert: reaching.SslRootCert = "",
    password_file: Annotated[
        str,
        typer.Option(metavar="PATH", help="A file of Grafana's machine with its password.", rich_help_panel=_SOURCE),
    ] = "",
    alerts: Annotated[
        bool,
        typer.Option(
            "--alerts",
            help="The alert rules too, as `gpufleet alerts export grafana` writes them.",
            rich_help_panel=reaching.RULES,
        ),
    ] = False,
    alert_rules: reaching.RulesFile = None,
    alert_datasource: reaching.RulesSource = "gpufleet-pg",
    xids: reaching.XidsFile = None,
) -> None:
    """Write what Grafana's provisioning folder holds: data source, boards, and where these are.

    The role's password is not in it: Grafana takes it from its own environment, GPUFLEET_READER_PASSWORD, or from a
    file.
    """
    from gpufleet_dashboards import provision as files
    from gpufleet_dashboards.rendered import documents

    reaching.check_tls(sslmode, sslrootcert)
    boards = PurePosixPath(at or str(out.resolve())) / files.BOARDS_FOLDER
    if not boards.is_absolute():
        raise CliError(f"--at {at} is no absolute path; Grafana has no other", 2)
    # First, for it can fail: then nothing is written.
    if alerts:
        _alerts(out / files.ALERTS_FOLDER, alert_rules, alert_datasource, xids)
    source = files.Source(address, database, role, sslmode, password_file, sslrootcert)
    _yaml(out / files.DATASOURCE_FILE, files.datasource(source))
    _yaml(out / files.PROVIDER_FILE, files.provider(str(boards)))
    for name, text in documents():
        _file(out / files.BOARDS_FOLDER / name, text)
    if alerts:
        reaching.warn_of_rules(role, alert_datasource)


def _yaml(file: Path, document: dict[str, Any]) -> None:
    import yaml

    head = "# Made by gpufleet dashboards provision.\n"
    _file(file, head + yaml.safe_dump(document, sort_keys=False, allow_unicode=True))


def _file(file: Path, text: str) -> None:
    from gpufleet_dashboards.cli.files import write

    write(file, text)
    typer.echo(str(file))


def _alerts(folder: Path, rules: Path | None, datasource: str, xids: Path | None) -> None:
    from gpufleet_server.cli.alert_export import For, export

    from gpufleet_dashboards.provision import FOLDER_TITLE

    export(For.GRAFANA, out=folder, rules=rules, xids=xids, datasource=datasource, folder=FOLDER_TITLE)
