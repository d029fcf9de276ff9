"""The command line. Modules here load what they need only when their command runs: `gpufleet --help` is quick."""

from gpufleet_server.cli.commands import app


def main() -> None:
    """Run the command that the arguments name."""
    app(prog_name="gpufleet")


__all__ = ["app", "main"]
