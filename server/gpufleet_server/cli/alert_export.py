"""`gpufleet alerts export`: the same rules for the alerting of others."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufleet_server.cli.errors import CliError
from gpufleet_server.cli.xid import xid_table

if TYPE_CHECKING:
    from gpufleet_server.alerts.overrides import Overrides


class For(StrEnum):
    """Whose alerting."""

    PROMETHEUS = "prometheus"
    GRAFANA = "grafana"


def export(
    whose: Annotated[
        For, typer.Argument(help="prometheus: rules over what agents show; grafana: over the database, PostgreSQL.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write into this folder, which is made; else on stdout.")
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option(
            "--alert-rules", metavar="FILE", envvar="GPUFLEET_ALERT_RULES", help="What is set otherwise, TOML."
        ),
    ] = None,
    xids: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", envvar="GPUFLEET_XIDS", help="Changes of one's own to what is known of XIDs, TOML."
        ),
    ] = None,
    datasource: Annotated[
        str, typer.Option(metavar="UID", help="Grafana's data source for the store.")
    ] = "gpufleet-pg",
    folder: Annotated[str, typer.Option(metavar="TITLE", help="Grafana's folder for the rules.")] = "gpufleet",
) -> None:
    """Write the rules as a Prometheus rule file, or for Grafana's provisioning.

    For Prometheus only those that the pages of agents can tell. Silences, maintenance, grouping, and which alert holds
    back which, stay here: these have their own.
    """
    from gpufleet_server.alerts.export import grafana, prometheus
    from gpufleet_server.alerts.export.text import text

    overrides, table = overrides_of(rules), xid_table(xids)
    if whose is For.PROMETHEUS:
        name, written = prometheus.FILE, text(prometheus.document(overrides, table))
    else:
        grant = f"Grafana's role needs: GRANT SELECT ON {', '.join(grafana.tables(overrides))} TO its_role;"
        name, written = grafana.FILE, text(grafana.document(overrides, datasource, folder, table), [grant])
    if out is None:
        typer.echo(written, nl=False)
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / name).write_text(written, encoding="utf-8")
    except OSError as error:
        raise CliError(f"can't write {out / name}: {error.strerror}") from error
    typer.echo(f"{out / name}", err=True)


def grafana_groups(rules: Path | None, xids: Path | None, datasource: str, folder: str) -> list[dict[str, Any]]:
    """The groups of rules for Grafana, as these files set them. CliError (usage) where one can't be read."""
    from gpufleet_server.alerts.export import grafana

    found: list[dict[str, Any]] = grafana.document(overrides_of(rules), datasource, folder, xid_table(xids))["groups"]
    return found


def overrides_of(file: Path | None) -> "Overrides":
    """The rules as a file sets them. CliError (usage) where it can't be read."""
    from gpufleet_server.alerts.discovery import every_rule
    from gpufleet_server.alerts.overrides import OverridesError, read

    try:
        return read(file, every_rule())
    except OverridesError as error:
        raise CliError(str(error), 2) from error
