"""`gpufleet up` and `gpufleet demo` as real processes."""

import json
import os
import re
import signal
import socket
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.stack import wait_for
from tests.nvml_sim.fixtures import environment as with_driver
from tests.nvml_sim.scenario import Scenario, h100_sxm
from tests.server.cli.processes import PROGRAM, Env, call, children, environment

ANYWHERE = ("--listen", "127.0.0.1:0")


class Up:
    """A command that serves, with what it has said so far."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process, self._log = process, log

    @property
    def said(self) -> str:
        """All that it printed."""
        return self._log.read_text()

    @property
    def agents(self) -> list[int]:
        """Its children."""
        return list(children(self.process.pid))

    def end(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it by a signal, as it should end: status 0, no traceback, no child left."""
        agents = self.agents
        self.process.send_signal(how)
        assert self.process.wait(60) == 0
        assert self.said.endswith("Stopped.\n")
        assert "Traceback" not in self.said
        assert not [pid for pid in agents if alive(pid)]


def alive(pid: int) -> bool:
    """Whether a process runs."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@contextmanager
def up(*arguments: str, env: Env) -> Iterator[Up]:
    """A command that serves, once it has said what to type next."""
    log = Path(env["HOME"]) / "said"
    with log.open("wb") as file:
        process = subprocess.Popen([PROGRAM, *arguments], env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
    it = Up(process, log)
    try:
        wait_for("a server", lambda: "Ctrl-C" in it.said or process.poll() is not None, 60)
        assert process.poll() is None, it.said
        yield it
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def env(tmp_path: Path) -> Env:
    """An environment of its own."""
    return environment(tmp_path)


def gpus(env: Env) -> list[dict[str, Any]]:
    """What `gpufleet gpus` shows without any setting."""
    return list(json.loads(call("gpus", "--json", "--all", env=env).stdout)["items"])


def test_without_a_driver_eight_gpus_are_simulated(env: Env, tmp_path: Path) -> None:
    """One line says so, the GPUs are marked, commands read them; a second one on the same folder is refused."""
    with up("up", *ANYWHERE, env=env) as it:
        assert re.match(r"No GPU driver here \(.+\): showing 8 simulated GPUs\.\n", it.said)
        found = wait_for("the GPUs", lambda: gpus(env))
        assert len(found) == 8
        assert all(gpu["simulated"] and gpu["state"] == "reporting" for gpu in found)
        assert it.agents == []
        failed = call("up", *ANYWHERE, env=env, status=1)
        assert re.fullmatch(r"gpufleet: another gpufleet runs on /\S+; end that one.+\n", failed.stderr)
        it.end()
    client = tmp_path / "state/gpufleet/client.json"
    assert stat.S_IMODE(client.stat().st_mode) == 0o600
    assert len(it.said.splitlines()) == 4


def test_with_a_driver_the_agent_reports(env: Env, tmp_path: Path) -> None:
    """The GPUs are those of the driver, nothing is simulated, and the agent ends with the command."""
    gpu = h100_sxm(0)
    env = with_driver(Scenario([gpu]).write(tmp_path / "scenario")) | env
    with up("up", *ANYWHERE, "--interval", "1s", env=env) as it:
        assert "simulated" not in it.said
        (one,) = wait_for("the GPU", lambda: gpus(env))
        assert (one["id"], one["simulated"]) == (str(gpu.values["uuid"]), False)
        assert len(it.agents) == 1
        it.end(signal.SIGTERM)


def test_the_agent_is_looked_after(env: Env) -> None:
    """Without a driver it keeps looking for one; it is started again when it dies, and does not outlive the command."""
    with up("up", "--no-simulate", *ANYWHERE, env=env) as it:
        assert "keeps looking" in it.said
        nodes = wait_for("the node", lambda: json.loads(call("nodes", "--json", env=env).stdout)["items"], 60)
        assert (nodes[0]["driver"]["state"], nodes[0]["simulated"]) == ("absent", False)
        assert gpus(env) == []
        (first,) = it.agents
        os.kill(first, signal.SIGKILL)
        (second,) = wait_for("another agent", lambda: [pid for pid in it.agents if pid != first])
        assert "the agent ended with status -9" in it.said
        it.process.kill()
        it.process.wait()
        wait_for("the agent's end", lambda: not alive(second))


@pytest.mark.parametrize("command", ["up", "demo", "serve"])
def test_a_port_in_use_is_told(env: Env, command: str) -> None:
    """One line names the address, with status 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        failed = call(command, "--listen", address, env=env, status=1)
    assert failed.stderr.splitlines()[-1].startswith(f"gpufleet: can't listen on {address}: the port is in use")


@pytest.mark.slow
def test_a_demo_has_a_folder_of_its_own_and_begins_anew(env: Env, tmp_path: Path) -> None:
    """All of it is simulated; it goes on with data and token where that is wanted, else another fleet is shown."""

    def demo(wanted: int, *arguments: str) -> set[str]:
        with up("demo", *ANYWHERE, "--no-faults", *arguments, env=env) as it:
            found = wait_for("the fleet", lambda: seen if len(seen := gpus(env)) >= wanted else [], 60)
            assert all(gpu["simulated"] for gpu in found)
            it.end()
        return {gpu["id"] for gpu in found}

    def token() -> str:
        return str(json.loads((tmp_path / "state/gpufleet/client.json").read_text())["token"])

    first, before = demo(4, "--gpus", "4"), token()
    assert demo(8, "--gpus", "4", "--seed", "2", "--keep") > first
    assert token() == before
    assert not demo(4, "--gpus", "4", "--seed", "3") & first
    assert not (tmp_path / "data/gpufleet/gpufleet.db").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ["up", "--interval", "0.5s"],
        ["up", "--interval", "soon"],
        ["up", "--listen", "nowhere"],
        ["demo", "--gpus", "0"],
        ["serve", "--tls-cert", "x.pem"],
        ["serve", "--log-level", "loud"],
    ],
)
def test_wrong_usage(env: Env, arguments: list[str], tmp_path: Path) -> None:
    """Status 2, and nothing is made."""
    call(*arguments, env=env, status=2)
    assert not (tmp_path / "data").exists()


def test_a_certificate_that_cannot_be_used(env: Env, tmp_path: Path) -> None:
    """One line names the file."""
    bad = tmp_path / "bad.pem"
    bad.write_text("not a certificate")
    failed = call("serve", "--tls-cert", str(bad), "--tls-key", str(bad), env=env, status=1)
    assert failed.stderr.splitlines()[-1].startswith(f"gpufleet: can't use the certificate {bad}")


def test_a_folder_that_cannot_be_used(env: Env, tmp_path: Path) -> None:
    """One line names it."""
    (tmp_path / "file").write_text("")
    failed = call("up", *ANYWHERE, "--data-dir", str(tmp_path / "file"), env=env, status=1)
    assert re.fullmatch(rf"gpufleet: can't use {tmp_path}/file\S*: .+\n", failed.stderr)
