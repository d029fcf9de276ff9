"""The Debian package: built as documented, and run from where it was unpacked."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from gpufleet_agent import __version__

from tests.agent.process import ROOT

# The distribution's own: a package is for that.
PYTHON = Path("/usr/bin/python3")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("dpkg-deb") is None or not PYTHON.exists(), reason="needs dpkg-deb and its Python"),
]


def output(*command: str | Path) -> str:
    """What a command prints."""
    done = subprocess.run([str(part) for part in command], check=True, capture_output=True, text=True, timeout=110)
    return done.stdout


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package."""
    folder = tmp_path_factory.mktemp("dist")
    script = ROOT / "agent/packaging/deb/build.sh"
    output("env", f"PIP={sys.executable} -m pip", f"PYTHON={PYTHON}", script, folder)
    (built,) = folder.glob("*.deb")
    return built


def test_it_says_what_it_is(package: Path) -> None:
    """Version, and the Python that its parts are compiled for."""
    shown = output("dpkg-deb", "--field", package)
    assert f"Version: {__version__}\n" in shown
    this = output(PYTHON, "-c", "import sys; print('%d.%d' % sys.version_info[:2])").strip()
    assert f"Depends: python3 (>= {this}), python3 (<< {this.split('.')[0]}." in shown


def test_its_files_are_where_they_belong(package: Path) -> None:
    """All root's; the settings readable by root and, once installed, by the service only."""
    lines = output("dpkg-deb", "--contents", package).splitlines()
    modes = {re.split(r"\s+", line)[5]: line.split()[0] for line in lines}
    assert modes["./etc/gpufleet/agent.toml"] == "-rw-r-----"
    assert modes["./usr/bin/gpufleet-agent"] == "-rwxr-xr-x"
    assert modes["./usr/lib/systemd/system/gpufleet-agent.service"] == "-rw-r--r--"
    assert {line.split()[1] for line in lines} == {"root/root"}
    assert not [name for name in modes if re.search(r"/bin/.", name) and name != "./usr/bin/gpufleet-agent"]
    unit = (ROOT / "agent/packaging/systemd/gpufleet-agent.service").read_text()
    assert "ExecStart=/usr/bin/gpufleet-agent run\n" in unit


def test_what_is_in_it_runs(package: Path, tmp_path: Path) -> None:
    """With nothing but the distribution's Python, which finds all of it compiled."""
    output("dpkg-deb", "-x", package, tmp_path)
    launcher = tmp_path / "usr/bin/gpufleet-agent"
    launcher.write_text(launcher.read_text().replace("/usr/lib/", f"{tmp_path}/usr/lib/"))
    assert output(launcher, "--version") == f"gpufleet-agent {__version__}\n"
    file = tmp_path / "etc/gpufleet/agent.toml"
    shown = output(launcher, "config", "check", "--config", file, "--metrics-listen", "127.0.0.1:0")
    assert "metrics_listen        127.0.0.1:0" in shown
    library = tmp_path / "usr/lib/gpufleet-agent"
    compiled = {path.name.split(".")[0] for path in library.glob("gpufleet_agent/**/__pycache__/*.pyc")}
    assert {"supervisor", "agent", "push"} <= compiled
