"""The systemd unit, held against systemd itself as far as that goes without one that runs."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.agent.process import ROOT

SYSTEMD = ROOT / "agent/packaging/systemd"
UNIT = SYSTEMD / "gpufleet-agent.service"
DROP_IN = SYSTEMD / "kernel-log.conf"
# As `systemd-analyze security` of Debian 12 (252) says; the docs tell the same.
EXPOSURE, EXPOSURE_WITH_LOG = 1.6, 2.0

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")


def analyze(*arguments: str) -> str:
    """What systemd-analyze prints on both streams; CalledProcessError where it finds something wrong."""
    command = ["systemd-analyze", "--no-pager", *arguments]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60
    ).stdout


@pytest.fixture
def unit(tmp_path: Path) -> Path:
    """A copy whose program is there to be found."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace("/usr/bin/gpufleet-agent", shutil.which("true") or ""))
    return copy


def exposure(unit: Path) -> float:
    """The figure, from 0 for none to 10."""
    found = re.search(r"exposure level for \S+: ([0-9.]+)", analyze("security", "--offline=true", str(unit)))
    assert found
    return float(found[1])


@pytest.mark.parametrize("with_log", [False, True], ids=["alone", "kernel-log"])
def test_systemd_understands_it(unit: Path, with_log: bool) -> None:
    """No unknown key, no value that is ignored, also with the drop-in."""
    if with_log:
        folder = unit.with_name(unit.name + ".d")
        folder.mkdir()
        shutil.copy(DROP_IN, folder)
    told = analyze("verify", "--man=no", str(unit))
    assert [line for line in told.splitlines() if unit.name in line or "kernel-log" in line] == []


def test_it_is_hardened(unit: Path) -> None:
    """The exposure that the docs tell, and what reading the kernel log adds."""
    assert exposure(unit) <= EXPOSURE
    folder = unit.with_name(unit.name + ".d")
    folder.mkdir()
    shutil.copy(DROP_IN, folder)
    assert exposure(unit) <= EXPOSURE_WITH_LOG


def test_the_docs_tell_the_figure() -> None:
    """Nobody has to take our word for it, and it is not an old one."""
    page = (ROOT / "docs/installing-the-agent.md").read_text()
    assert f"exposure {EXPOSURE} " in page
    assert f"{EXPOSURE_WITH_LOG} with" in page
