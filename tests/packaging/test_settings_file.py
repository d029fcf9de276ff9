"""The file of settings that packages bring."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from gpufleet_agent.config import Config, load
from gpufleet_agent.settings import SETTINGS

from tests.agent.process import ROOT

FILE = ROOT / "agent/packaging/agent.toml"
# What has no default shows an example.
EXAMPLES = {key for key in Config.__dataclass_fields__ if getattr(Config(), key) in (None, {})}


@pytest.fixture
def shown() -> dict[str, Any]:
    """What the file says with every comment on a setting taken away."""
    return tomllib.loads(re.sub(r"(?m)^#(?=[a-z_]+ = )", "", FILE.read_text()))


def test_as_it_comes_it_says_nothing(tmp_path: Path) -> None:
    """Defaults hold until somebody edits it."""
    empty = tmp_path / "empty.toml"
    empty.touch()
    assert load({}, {}, FILE) == load({}, {}, empty)


def test_it_shows_every_setting(shown: dict[str, Any]) -> None:
    """In the form in which it can be used."""
    assert set(shown) == {setting.key for setting in SETTINGS}


def test_what_it_shows_is_what_holds(shown: dict[str, Any]) -> None:
    """A value that is commented out is the default, where there is one."""
    readers = {setting.key: setting.read for setting in SETTINGS}
    values = {key: readers[key](value) for key, value in shown.items() if key != "token"}
    assert {key: value for key, value in values.items() if key not in EXAMPLES} == {
        key: getattr(Config(), key) for key in Config.__dataclass_fields__ if key not in EXAMPLES
    }
