"""Where the checked-in boards are."""

from pathlib import Path

from gpufleet_server.cli.errors import CliError


def checked_in() -> Path:
    """The folder of the working tree. CliError where this was not started from one."""
    from gpufleet_dashboards.rendered import folder

    found = folder()
    if not (found.parent / "pyproject.toml").is_file():
        raise CliError("this is no working tree with boards checked in: say a folder", 2)
    return found
