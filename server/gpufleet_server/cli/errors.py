"""How a command fails: one line on stderr and an exit status, never a traceback."""

from typing import Any

import typer
from typer.core import TyperGroup

PROBLEM = 1
NO_DRIVER = 3


class CliError(Exception):
    """A command can't do what was asked; the text says why, and what to do if that is known."""

    def __init__(self, text: str, status: int = PROBLEM) -> None:
        super().__init__(text)
        self.status = status


class Unreachable(CliError):
    """The server does not answer now."""


class Commands(TyperGroup):
    """Commands whose `CliError` becomes a line and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except CliError as error:
            typer.echo(f"gpufleet: {error}", err=True)
            raise typer.Exit(error.status) from None
