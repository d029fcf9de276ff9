"""What the commands that ask a Grafana share: their options, and how that fails."""

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer
from gpufleet_server.cli.errors import CliError

if TYPE_CHECKING:
    from gpufleet_dashboards.push.datasource import DataSource
    from gpufleet_dashboards.push.grafana import Grafana
    from gpufleet_dashboards.push.plan import Wanted

_USAGE = 2
SSLMODES = ("disable", "require", "verify-ca", "verify-full")
_GRAFANA, _SOURCE, RULES = "Grafana", "Data source", "Alert rules"

FolderName = Annotated[
    str,
    typer.Option(
        "--folder",
        metavar="NAME",
        help="Its folder, by title or uid; made where there is none.",
        rich_help_panel=_GRAFANA,
    ),
]
CaFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="What its certificate is signed with, PEM; else what the machine trusts.",
        rich_help_panel=_GRAFANA,
    ),
]
Timeout = Annotated[
    float,
    typer.Option(metavar="SECONDS", min=0.1, help="How long to wait for each answer.", rich_help_panel=_GRAFANA),
]
Address = Annotated[
    str | None,
    typer.Option(
        "--address",
        metavar="HOST:PORT",
        help="PostgreSQL, as Grafana reaches it; else it stays.",
        rich_help_panel=_SOURCE,
    ),
]
Database = Annotated[str, typer.Option("--database", metavar="NAME", help="The store.", rich_help_panel=_SOURCE)]
Role = Annotated[
    str,
    typer.Option(
        "--role",
        metavar="ROLE",
        help="Made by gpufleet db grant-reader; its password is read from GPUFLEET_READER_PASSWORD.",
        rich_help_panel=_SOURCE,
    ),
]
SslMode = Annotated[
    str,
    typer.Option(
        "--sslmode", metavar="MODE", help="disable, require, verify-ca, verify-full.", rich_help_panel=_SOURCE
    ),
]
SslRootCert = Annotated[
    str,
    typer.Option(
        "--sslrootcert",
        metavar="PATH",
        help="What PostgreSQL's certificate is signed with, PEM: a file of Grafana's machine. verify-ca and "
        "verify-full need it.",
        rich_help_panel=_SOURCE,
    ),
]
NoSource = Annotated[
    bool, typer.Option("--no-datasource", help="Leave it alone, there or not.", rich_help_panel=_SOURCE)
]
WithRules = Annotated[
    bool,
    typer.Option("--alerts", help="The alert rules too, for Grafana's own alerting.", rich_help_panel=RULES),
]
RulesFile = Annotated[
    Path | None,
    typer.Option(
        "--alert-rules",
        metavar="FILE",
        envvar="GPUFLEET_ALERT_RULES",
        help="What is set otherwise of them, TOML.",
        rich_help_panel=RULES,
    ),
]
RulesSource = Annotated[
    str,
    typer.Option(
        "--alert-datasource",
        metavar="UID",
        help="The data source they ask; its role needs gpufleet db grant-reader --alert-rules.",
        rich_help_panel=RULES,
    ),
]
XidsFile = Annotated[
    Path | None,
    typer.Option(
        "--xids",
        metavar="FILE",
        envvar="GPUFLEET_XIDS",
        help="The same changes to what is known of XIDs that the servers have, TOML.",
        rich_help_panel=RULES,
    ),
]


@contextlib.contextmanager
def asking(url: str, ca_file: Path | None, timeout: float) -> Iterator["Grafana"]:
    """A Grafana, asked with the secrets of the environment; what goes wrong is a CliError."""
    from gpufleet_dashboards.push.access import access
    from gpufleet_dashboards.push.failure import PushError

    try:
        from gpufleet_dashboards.push.grafana import Grafana
    except ModuleNotFoundError as error:
        raise CliError(
            f"this needs grafana-client ({error.name} is missing): pip install 'gpufleet-dashboards[push]', "
            "best into an environment of its own, since it replaces urllib3"
        ) from error
    try:
        with Grafana(access(url, os.environ, ca_file, timeout)) as grafana:
            yield grafana
    except PushError as error:
        raise CliError(str(error)) from error


def check_tls(sslmode: str, sslrootcert: str) -> None:
    """CliError for a way to PostgreSQL that Grafana can't go."""
    if sslmode not in SSLMODES:
        raise CliError(f"--sslmode {sslmode} is none of {', '.join(SSLMODES)}", _USAGE)
    if sslmode.startswith("verify-") and not sslrootcert:
        raise CliError(f"--sslmode {sslmode} needs --sslrootcert: Grafana goes by no other certificates", _USAGE)
    if sslmode == "disable" and sslrootcert:
        raise CliError("--sslrootcert is of no use with --sslmode disable", _USAGE)
    if sslrootcert and not PurePosixPath(sslrootcert).is_absolute():
        raise CliError(f"--sslrootcert {sslrootcert} is no absolute path of Grafana's machine", _USAGE)


def warn_of_rules(role: str, datasource: str) -> None:
    """Say on stderr what the role needs for the alert rules: they read tables, not the views of boards."""
    from gpufleet_dashboards.render import SOURCE_UID

    named = role if datasource == SOURCE_UID else f"ROLE, the role of the data source {datasource}"
    typer.echo(
        f"The alert rules read tables: they need gpufleet db grant-reader --alert-rules {named}. Without, each fails.",
        err=True,
    )


def source(
    address: str | None, database: str, role: str, sslmode: str, sslrootcert: str, *, renew: bool = False
) -> "DataSource | None":
    """The data source that the options ask for, with the password of the environment. CliError for what can't be."""
    from gpufleet_dashboards.provision import PASSWORD, Source
    from gpufleet_dashboards.push.datasource import of

    password = os.environ.get(PASSWORD, "")
    if address:
        check_tls(sslmode, sslrootcert)
    if renew and not (address and password):
        raise CliError(f"--set-password needs --address, and the password in {PASSWORD}", _USAGE)
    found = Source(address or "", database, role, sslmode, sslrootcert=sslrootcert)
    return of(found, password, renew) if address else None


def groups(
    asked: bool, file: Path | None, datasource: str, folder: str, xids: Path | None = None
) -> list[dict[str, Any]]:
    """The groups of alert rules, where they are asked for."""
    if not asked:
        return []
    from gpufleet_server.cli.alert_export import grafana_groups

    return grafana_groups(file, xids, datasource, folder)


def wanted(folder: str, settings: "DataSource | None", no_datasource: bool, rules: list[dict[str, Any]]) -> "Wanted":
    """All boards of this release, and what else was asked for."""
    from gpufleet_dashboards.push.plan import Wanted
    from gpufleet_dashboards.render import SOURCE_UID
    from gpufleet_dashboards.rendered import documents

    if settings is not None and no_datasource:
        raise CliError("--no-datasource and --address are either or", _USAGE)
    boards = [json.loads(text) for _, text in documents()]
    return Wanted(folder, boards, None if no_datasource else SOURCE_UID, settings, rules)
