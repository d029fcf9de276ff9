"""`gpufleet serve`: the server on a database."""

import logging
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpufleet_server.cli import alerting, keep
from gpufleet_server.cli.database import Database, opened
from gpufleet_server.cli.errors import CliError
from gpufleet_server.cli.settings import DEFAULT_LISTEN, address, default_database

if TYPE_CHECKING:
    import socket

    from gpufleet_server.cli.hosting import Server

_LOG = logging.getLogger("gpufleet")

Listen = Annotated[
    str,
    typer.Option(metavar="HOST:PORT", envvar="GPUFLEET_LISTEN", help="Where to listen; port 0 takes a free one."),
]


class Level(StrEnum):
    """How much to log."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def serve(
    database: Database = None,
    listen: Listen = DEFAULT_LISTEN,
    tls_cert: Annotated[Path | None, typer.Option(metavar="FILE", help="Certificate chain, PEM: serve https.")] = None,
    tls_key: Annotated[Path | None, typer.Option(metavar="FILE", help="The certificate's key, PEM.")] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Let in only who shows a certificate that these, PEM, have signed."),
    ] = None,
    metrics_public: Annotated[bool, typer.Option(help="Let /metrics be read without a token.")] = False,
    renew_credentials: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            envvar="GPUFLEET_RENEW_CREDENTIALS",
            help="Have agents renew credentials that are older than this; 0 never.",
        ),
    ] = "30d",
    keep_samples: keep.KeepSamples = keep.SAMPLES,
    keep_hourly: keep.KeepHourly = keep.HOURLY,
    keep_daily: keep.KeepDaily = keep.DAILY,
    keep_fleet_minutes: keep.KeepFleetMinutes = keep.FLEET_MINUTES,
    keep_fleet_hours: keep.KeepFleetHours = keep.FLEET_HOURS,
    keep_usage: keep.KeepUsage = keep.USAGE,
    alerts: alerting.On = True,
    alert_interval: alerting.Interval = "15s",
    alert_rules: alerting.RulesFile = None,
    receivers: alerting.ReceiversFile = None,
    xids: alerting.XidsFile = None,
    log_level: Annotated[Level, typer.Option(help="How much to log on stderr.")] = Level.INFO,
) -> None:
    """Serve agents, the REST API and /metrics on a database, until SIGTERM or Ctrl-C.

    The database is made, or brought to this version's schema, first. Agents need a join token and the commands that
    read a reader token: [bold]gpufleet token create[/bold]. Events, states and rosters are always kept; what the rest
    takes, and would take, [bold]gpufleet db stats[/bold] shows.
    """
    from gpufleet_server.alerts.delivery.errors import ReceiversError
    from gpufleet_server.app import create_app
    from gpufleet_server.cli import hosting
    from gpufleet_server.cli.times import length

    if (tls_cert is None) != (tls_key is None):
        raise CliError("--tls-cert and --tls-key go together", 2)
    if tls_client_ca is not None and tls_cert is None:
        raise CliError("--tls-client-ca needs --tls-cert and --tls-key", 2)
    kept = keep.keep(keep_samples, keep_hourly, keep_daily, keep_fleet_minutes, keep_fleet_hours, keep_usage)
    renew_after = length(renew_credentials, "--renew-credentials")
    alerts_as = alerting.settings(alerts, alert_interval, alert_rules, receivers, xids)
    hosting.log_to_stderr(log_level.value)
    url = database or default_database()
    with opened(url, upgrade=True) as store:
        try:
            app = create_app(store, public_metrics=metrics_public, keep=kept, renew_after=renew_after, alerts=alerts_as)
        except ReceiversError as error:
            raise CliError(f"{receivers}: {error}", 2) from error
        server = hosting.configured(app, tls_cert, tls_key, tls_client_ca)
        with hosting.listen(*address(listen)) as listening:
            hosting.run(_serve(server, listening, tls=tls_cert is not None, database=store.name))


async def _serve(server: "Server", listening: "socket.socket", *, tls: bool, database: str) -> None:
    from gpufleet_server.cli import hosting

    stop = hosting.stopped_by_signals()
    async with hosting.serving(server, listening, stop):
        _LOG.info("listening on %s, database %s", hosting.url_of(listening, tls=tls), database)
        if not tls and not hosting.is_loopback(listening):
            _LOG.warning("other machines can reach this address and tokens travel in the clear: use --tls-cert")
        await stop.wait()
        _LOG.info("stopping")
    _LOG.info("stopped")
