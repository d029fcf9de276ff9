"""README names only what there is."""

import re
import tomllib
from pathlib import Path

import pytest
from gpufleet_agent.config import load
from gpufleet_server.cli import app
from typer.testing import CliRunner

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
# Written when the benchmarks have been run for a release.
COMMANDS = sorted(set(re.findall(r"^(?:\$|GPUFLEET.*) gpufleet ([a-z][^\n#`]*)", README, re.MULTILINE)))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_exist(command: str) -> None:
    """Each takes the options with which it is shown."""
    result = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for option in re.findall(r"--[a-z-]+", command):
        assert option in result.stdout


def test_make_has_the_targets() -> None:
    """Each `make …` is a target of the Makefile."""
    targets = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"make ([a-z-]+)  ", README)) >= {"up", "demo", "test"}
    assert set(re.findall(r"(?:\$|`|    )\s?make ([a-z-]+)", README)) <= set(targets)


def test_links_lead_somewhere() -> None:
    """Each file that is linked is there."""
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert not [link for link in links if not (ROOT / link).exists()]


def test_the_agents_file_is_one(tmp_path: Path) -> None:
    """The agent takes the example as it stands."""
    (example,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    file = tmp_path / "agent.toml"
    file.write_text(example)
    config = load({}, {}, file)
    given = tomllib.loads(example)
    assert (config.server, config.site, config.labels) == (given["server"], given["site"], given["labels"])
