"""Boards' files: where those of the working tree are, and what is in a folder of them."""

import json
from pathlib import Path
from typing import Any

from gpufleet_server.cli.errors import CliError

from gpufleet_dashboards.cli.files import read


def checked_in() -> Path:
    """The folder of the working tree. CliError where this was not started from one."""
    from gpufleet_dashboards.rendered import folder

    found = folder()
    if not (found.parent / "pyproject.toml").is_file():
        raise CliError("this is no working tree with boards checked in: say a folder", 2)
    return found


def documents_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Each JSON file's name and the dashboard in it. CliError where there is none, or one that is not a dashboard."""
    found = {file.name: document(file) for file in sorted(folder.glob("*.json"))}
    if not found:
        raise CliError(f"{folder}: no boards are there (*.json)", 2)
    return found


def document(file: Path) -> dict[str, Any]:
    """The dashboard in a file: alone, or as Grafana's API gives it. CliError where there is none."""
    try:
        found = json.loads(read(file) or "")
    except json.JSONDecodeError as error:
        raise CliError(f"{file} is not JSON: {error}") from error
    if isinstance(found, dict):
        found = found.get("dashboard", found)
    if not isinstance(found, dict) or not isinstance(found.get("panels"), list):
        raise CliError(f"{file} is no dashboard of Grafana's classic JSON: it has no list of panels")
    return found
