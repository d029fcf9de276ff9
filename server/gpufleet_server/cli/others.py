"""Commands that distributions installed beside the server bring: entry points of the group `gpufleet.commands`."""

import functools
from collections.abc import Mapping
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any

import typer

from gpufleet_server.cli.errors import CliError, Commands

GROUP = "gpufleet.commands"
# What gpufleet's own distributions bring, so that whoever has not installed one is told of it.
OWN: Mapping[str, str] = MappingProxyType({"dashboards": "gpufleet-dashboards"})

_PANEL = "Others"


class WithOthers(Commands):
    """Commands, and those of others: looked for where a name is none of the server's, or all are listed."""

    def list_commands(self, ctx: Any) -> list[str]:
        """The names, the others' last."""
        return [*super().list_commands(ctx), *sorted({*_found(), *OWN})]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of a name; None where there is none."""
        if (own := super().get_command(ctx, cmd_name)) is not None:
            return own
        if (point := _found().get(cmd_name)) is not None:
            return _listed(cmd_name, typer.main.get_command(point.load()))
        return _listed(cmd_name, _missing(cmd_name)) if cmd_name in OWN else None


@functools.cache
def _found() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def _listed(name: str, command: Any) -> Any:
    command.name, command.rich_help_panel = name, _PANEL
    return command


def _missing(name: str) -> Any:
    app = typer.Typer(add_completion=False)
    settings = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}

    @app.command(name, help=f"Needs {OWN[name]}, which is not installed.", context_settings=settings)
    def tell() -> None:
        raise CliError(f"`gpufleet {name}` is of {OWN[name]}, which is not installed: pip install {OWN[name]}", 2)

    return typer.main.get_command(app)
