"""How alerts are evaluated, and who is told: options of `gpufleet serve`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpufleet_server.cli.errors import CliError

if TYPE_CHECKING:
    from gpufleet_server.alerts.service import Settings

_PANEL = "Alerts"
_LEAST_S, _MOST_S = 1, 3600

On = Annotated[bool, typer.Option(envvar="GPUFLEET_ALERTS", rich_help_panel=_PANEL, help="Evaluate alerts.")]
Interval = Annotated[
    str,
    typer.Option(
        metavar="TIME",
        envvar="GPUFLEET_ALERT_INTERVAL",
        rich_help_panel=_PANEL,
        help="How often the whole fleet is looked at; events are at once.",
    ),
]
RulesFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        envvar="GPUFLEET_ALERT_RULES",
        rich_help_panel=_PANEL,
        help="What is set otherwise than the rules say, TOML: thresholds, severities, waits, for sites and models.",
    ),
]
ReceiversFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", envvar="GPUFLEET_RECEIVERS", rich_help_panel=_PANEL, help="Who is told of alerts, TOML."
    ),
]
XidsFile = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        envvar="GPUFLEET_XIDS",
        rich_help_panel=_PANEL,
        help="Changes of one's own to what is known of XIDs, TOML.",
    ),
]


def settings(
    on: bool, interval: str, rules: Path | None, receivers: Path | None, xids: Path | None
) -> "Settings | None":
    """What these options say; None where alerts are off. CliError where a file can't be used."""
    from gpufleet_server.alerts import overrides
    from gpufleet_server.alerts.discovery import every_rule
    from gpufleet_server.alerts.overrides import OverridesError
    from gpufleet_server.alerts.service import Settings
    from gpufleet_server.cli.receivers import load
    from gpufleet_server.cli.times import length
    from gpufleet_server.domain.clock import SECOND
    from gpufleet_server.domain.xids import XidsError, catalogue

    every = length(interval, "--alert-interval") / SECOND
    if not _LEAST_S <= every <= _MOST_S:
        raise CliError(f"--alert-interval {interval} is not between {_LEAST_S} s and {_MOST_S} s", 2)
    if not on:
        return None
    try:
        table = catalogue().changed(xids) if xids is not None else catalogue()
        found = overrides.read(rules, every_rule())
    except (OverridesError, XidsError) as error:
        raise CliError(str(error), 2) from error
    told = {} if receivers is None else {"receivers": load(receivers)}
    return Settings(overrides=found, interval=every, xids=table, **told)
