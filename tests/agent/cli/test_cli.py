"""The commands as they are typed: output, exit codes, and that a hanging driver does not hang them."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from gpufleet_agent import __version__
from gpufleet_agent.backends.nvidia import NvidiaBackend
from gpufleet_agent.catalogue import BY_NAME, METRICS
from gpufleet_agent.cli import main
from gpufleet_agent.cli.check import check
from gpufleet_agent.cli.once import once
from gpufleet_agent.config import Config
from gpufleet_agent.wire import Credential

from tests.agent.fake_driver import FakeBackend, uuid
from tests.agent.ingest_end import CREDENTIAL, TOKEN, IngestEnd, serving
from tests.nvml_sim.fixtures import driver
from tests.nvml_sim.scenario import Scenario, h100_mig

# The server of these tests runs in a thread, which newer Pythons warn of when the reader is forked.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Settings with a state folder of their own."""
    return Config(state_dir=tmp_path / "state", name="gpu-17")


def test_once_prints_raw_and_human(tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Every metric has its stored integer, value, unit and text; nothing is kept on disk."""
    assert once(config, True, 20, FakeBackend(tmp_path)) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["host"]["hostname"] == "gpu-17"
    second = shown["gpus"][1]
    assert (second["uuid"], second["serial"], second["vbios_version"]) == (uuid(1), "serial-1", None)
    assert shown["driver"]["since"].endswith("Z")
    assert list(second["metrics"]) == [metric.name for metric in METRICS]
    power = second["metrics"]["power"]
    assert power == {"stored": 1701, "value": 170.1, "unit": "W", "text": "170.1 W"}
    assert 900 <= shown["sample"]["duration_ms"] <= 1500
    assert not config.state_dir.exists()


def test_once_prints_text(tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --json a person can read it."""
    assert once(config, False, 20, FakeBackend(tmp_path, gpus=1)) == 0
    shown = capsys.readouterr().out
    assert "GPU 0  model unknown  GPU-" in shown
    assert "170.0 W" in shown


def test_no_driver_is_exit_code_3(tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Both commands say in a line why there is none."""
    (tmp_path / "absent").touch()
    assert once(config, False, 20, FakeBackend(tmp_path)) == 3
    assert "driver absent: the fake driver is not loaded" in capsys.readouterr().out
    assert check(config, False, 20, FakeBackend(tmp_path)) == 3


def test_a_hanging_driver_does_not_hang_the_command(
    tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """After the timeout the command says so and ends with 1."""
    (tmp_path / "hang-open").touch()
    assert once(config, False, 0.3, FakeBackend(tmp_path)) == 1
    assert "driver unresponsive" in capsys.readouterr().out


def test_once_without_gpus_ends(tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """A driver that shows no GPU is a report without GPUs."""
    assert once(config, True, 20, FakeBackend(tmp_path, gpus=0)) == 0
    assert json.loads(capsys.readouterr().out)["gpus"] == []


def test_check_finds_all_well(tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """With a driver, a folder to write to and a server that takes the credential the exit code is 0."""
    config.state_dir.mkdir()
    node = "00000000-0000-4000-8000-000000000001"
    (config.state_dir / "node.json").write_text(json.dumps({"node": node, "basis": "random"}))
    kept = Credential(node=node, credential=CREDENTIAL)
    (config.state_dir / "credential.json").write_text(json.dumps({"node": kept.node, "credential": kept.credential}))
    with serving(IngestEnd()) as end:
        online = Config(state_dir=config.state_dir, server=end.url)
        assert check(online, True, 20, FakeBackend(tmp_path)) == 0
        shown = {finding["subject"]: finding for finding in json.loads(capsys.readouterr().out)["findings"]}
        assert (shown["credential"]["level"], shown["server"]["level"]) == ("ok", "ok")
        assert shown["GPU 0"]["text"].endswith(", XID events")
        assert shown["GPU 1"]["text"].endswith(", no XID events")
        assert shown["driver"]["absent"] == {"failed": ["cuda_version"]}
        end.credential = "another"
        assert check(online, False, 20, FakeBackend(tmp_path)) == 1
        assert "credential: the server does not take it: HTTP 401" in capsys.readouterr().out


def test_check_names_what_is_wrong(tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """A lost GPU, a server that is down and a folder that is none, each with its reason."""
    (tmp_path / "lost").touch()
    config.state_dir.touch()
    broken = Config(state_dir=config.state_dir, server="http://127.0.0.1:9", token=TOKEN)
    assert check(broken, False, 20, FakeBackend(tmp_path)) == 1
    shown = capsys.readouterr().out
    assert "problem GPU 0: model unknown GPU-00000000-0000-0000-0000-000000000000, lost" in shown
    assert f"problem state folder: {config.state_dir} is not a folder" in shown
    assert "cannot be reached: ConnectionRefusedError" in shown


def test_wrong_settings_are_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """The message names flag and value."""
    assert main(["once", "--interval", "10ms"]) == 2
    assert capsys.readouterr().err == "gpufleet-agent: --interval = '10ms': expected 1s to 300s\n"


@pytest.mark.parametrize("seconds", ["inf", "nan", "-1", "0", "soon"])
def test_a_timeout_is_a_time(seconds: str, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no number of seconds is wrong usage, not a driver that hangs."""
    with pytest.raises(SystemExit, match="2"):
        main(["once", "--timeout", seconds])
    assert "--timeout: expected " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("kept", "told"),
    [(b"\xff\0{", "damaged"), (b'{"node":"00000000-0000-4000-8000-000000000009","credential":"c"}', "another node's")],
)
def test_a_credential_that_cannot_be_used_is_told(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], kept: bytes, told: str
) -> None:
    """Its file and what is wrong with it are named, by `run` and by `check`."""
    (tmp_path / "credential.json").write_bytes(kept)
    assert main(["run", "--server", "http://127.0.0.1:9", "--state-dir", str(tmp_path)]) == 1
    shown = capfd.readouterr().err
    assert f"{tmp_path}/credential.json: " in shown
    assert told in shown
    with serving(IngestEnd()) as end:
        check(Config(state_dir=tmp_path, server=end.url), False, 20, FakeBackend(tmp_path))
    assert f"problem credential: {tmp_path}/credential.json: " in capfd.readouterr().out


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_check_as_a_user_who_may_see_nothing(tmp_path: Path) -> None:
    """A state folder of another user's is a finding, not a traceback."""
    (tmp_path / "private").mkdir(mode=0o700)
    code = f"""
import os
from pathlib import Path
from gpufleet_agent.cli.check import _state
os.setuid(65534)
print(_state(Path({str(tmp_path / "private" / "state")!r})).text)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Permission denied" in done.stdout


def test_run_with_nothing_to_do_is_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    """Without server and port an agent would be of no use."""
    assert main(["run"]) == 2
    assert "--server" in capsys.readouterr().err


def test_run_without_token_says_what_is_missing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A node that is not enrolled needs a join token."""
    assert main(["run", "--server", "http://127.0.0.1:9", "--state-dir", str(tmp_path)]) == 1
    assert "give a join token" in capfd.readouterr().err


def test_the_command_starts_quickly_and_small(tmp_path: Path) -> None:
    """`--version` loads neither the wire nor a driver library, nor does help."""
    code = "import sys; from gpufleet_agent.cli import main\ntry: main(['--version'])\nexcept SystemExit: pass\n"
    code += "print(*sorted(m for m in ('msgspec', 'pynvml', 'ssl', 'prometheus_client') if m in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=dict(os.environ)
    )
    assert done.stdout.splitlines() == [f"gpufleet-agent {__version__}", ""]


def test_human_texts() -> None:
    """Bytes in binary units, flags by name, absent values in brackets."""
    from gpufleet_agent.cli.readable import human

    assert human(BY_NAME["fb_used"], 80 << 20) == "80.0 GiB"
    assert human(BY_NAME["clock_event_reasons"], 0x41) == "idle, hardware thermal slowdown"
    assert human(BY_NAME["remap_pending"], 1) == "yes"
    assert human(BY_NAME["power"], BY_NAME["power"].lowest + 1) == "(no permission)"


def test_once_shows_partitions(tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]) -> None:
    """Each with what the driver tells of it, below its GPU; and its share of that."""
    with driver(Scenario([h100_mig(0)]), tmp_path / "s"):
        assert once(config, True, 20, NvidiaBackend()) == 0
        shown = json.loads(capsys.readouterr().out)
        assert once(config, False, 20, NvidiaBackend()) == 0
    parts = shown["gpus"][0]["partitions"]
    assert [part["metrics"]["gpu_utilization"]["value"] for part in parts] == [3, 3, 25, 36, 47]
    assert "1c.3g.40gb, 14.3 % of the GPU" in capsys.readouterr().out


def test_check_says_whether_the_kernel_log_can_be_read(
    tmp_path: Path, config: Config, capsys: pytest.CaptureFixture[str]
) -> None:
    """Read, not there, or not wanted."""
    (tmp_path / "dev").mkdir()
    for kernel_log, there in ((True, False), (True, True), (False, True)):
        if there:
            (tmp_path / "dev/kmsg").touch()
        check(replace(config, kernel_log=kernel_log), False, 20, FakeBackend(tmp_path), tmp_path)
    told = [line for line in capsys.readouterr().out.splitlines() if "kernel log:" in line]
    assert [line.split()[0] for line in told] == ["note", "ok", "note"]
    assert "No such file" in told[0]
