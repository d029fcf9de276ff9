"""Gathers the dependencies, scripts and entry points of the three distributions for the workspace's own wheel."""

import tomllib
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

MEMBERS = ("agent", "server", "dashboards")


class WorkspaceMetadata(MetadataHookInterface):
    """Fills `dependencies`, `scripts` and `entry-points` from the members' own pyproject files."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Merge the members' project tables into the workspace's."""
        projects = [tomllib.loads(Path(self.root, name, "pyproject.toml").read_text())["project"] for name in MEMBERS]
        wanted = {line for project in projects for line in project.get("dependencies", [])}
        metadata["dependencies"] = sorted(line for line in wanted if not line.startswith("gpufleet-"))
        metadata["scripts"] = {key: value for project in projects for key, value in project.get("scripts", {}).items()}
        metadata["entry-points"] = {
            group: points for project in projects for group, points in project.get("entry-points", {}).items()
        }
