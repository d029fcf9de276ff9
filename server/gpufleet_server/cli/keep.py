"""For how long things are kept: options that `gpufleet serve` and `gpufleet db` share."""

from typing import TYPE_CHECKING, Annotated

import typer

from gpufleet_server.cli.errors import CliError

if TYPE_CHECKING:
    from gpufleet_server.store.retention import Keep

_PANEL = "How long to keep"
_LEAST_HOURS = {
    "--keep-samples": 1,
    "--keep-fleet-minutes": 1,
    "--keep-hourly": 24,
    "--keep-fleet-hours": 24,
    "--keep-usage": 48,
}


def _option(what: str, variable: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(
        metavar="TIME", envvar=variable, rich_help_panel=_PANEL, help=f"{what}; 0 keeps them for ever."
    )
    return option


KeepSamples = Annotated[str, _option("Samples of each GPU", "GPUFLEET_KEEP_SAMPLES")]
KeepHourly = Annotated[str, _option("Hourly rollups of each GPU", "GPUFLEET_KEEP_HOURLY")]
KeepDaily = Annotated[str, _option("Daily rollups of each GPU, and of its usage", "GPUFLEET_KEEP_DAILY")]
KeepFleetMinutes = Annotated[
    str,
    _option("Rollups of the fleet by the minute, counts of states, usage by the hour", "GPUFLEET_KEEP_FLEET_MINUTES"),
]
KeepFleetHours = Annotated[
    str, _option("Rollups of the fleet, and what servers did, by the hour", "GPUFLEET_KEEP_FLEET_HOURS")
]
KeepUsage = Annotated[str, _option("Who used which GPU from when to when", "GPUFLEET_KEEP_USAGE")]

SAMPLES, HOURLY, DAILY, FLEET_MINUTES, FLEET_HOURS, USAGE = "30d", "730d", "0", "90d", "0", "730d"


def keep(samples: str, hourly: str, daily: str, fleet_minutes: str, fleet_hours: str, usage: str) -> "Keep":
    """What the options say. CliError where one of them can't be."""
    from gpufleet_server.store.retention import Keep

    return Keep(
        samples=kept_for(samples, "--keep-samples"),
        hourly=kept_for(hourly, "--keep-hourly"),
        daily=kept_for(daily, "--keep-daily"),
        fleet_minutes=kept_for(fleet_minutes, "--keep-fleet-minutes"),
        fleet_hours=kept_for(fleet_hours, "--keep-fleet-hours"),
        usage=kept_for(usage, "--keep-usage"),
    )


def kept_for(text: str, option: str) -> int:
    """The µs of an option, 0 for ever. CliError where it is less than what a row holds."""
    from gpufleet_server.cli.times import length

    micros = length(text, option)
    hours = _LEAST_HOURS.get(option, 32 * 24)
    if 0 < micros < hours * 3600 * 1_000_000:
        least = f"{hours}h" if hours <= 24 else f"{hours // 24}d"
        raise CliError(f"{option} {text!r} is less than {least}; 0 keeps them for ever", 2)
    return micros
