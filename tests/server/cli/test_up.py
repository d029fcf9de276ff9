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
from tests.server.cli.processes import PROGRAM, Env, call, children, environment, run

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
        assert self.process.wait(20) == 0
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
        wait_for("a server", lambda: "Ctrl-C" in it.said or process.poll() is not None, 30)
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
    """It says so in one line, the GPUs are marked, and the command that it names reads them."""
    with up("up", *ANYWHERE, env=env) as it:
        assert re.match(r"No GPU driver here \(.+\): showing 8 simulated GPUs\.\n", it.said)
        found = wait_for("the GPUs", lambda: gpus(env))
        assert len(found) == 8
        assert all(gpu["simulated"] and gpu["state"] == "reporting" for gpu in found)
        assert it.agents == []
        it.end()
    client = tmp_path / "state/gpufleet/client.json"
    assert stat.S_IMODE(client.stat().st_mode) == 0o600
    assert len(it.said.splitlines()) == 4


def test_with_a_driver_the_agent_reports(env: Env, tmp_path: Path) -> None:
    """The GPUs are those of the driver, nothing is simulated, and the agent ends with the command."""
    gpu = h100_sxm(0)
    env |= with_driver(Scenario([gpu]).write(tmp_path / "scenario"))
    with up("up", *ANYWHERE, "--interval", "1s", env=env) as it:
        assert "simulated" not in it.said
        (one,) = wait_for("the GPU", lambda: gpus(env))
        assert (one["id"], one["simulated"]) == (str(gpu.values["uuid"]), False)
        assert len(it.agents) == 1
        it.end(signal.SIGTERM)


def test_without_simulation_the_agent_keeps_looking(env: Env) -> None:
    """The node is there with its driver absent, and no GPU."""
    with up("up", "--no-simulate", *ANYWHERE, env=env) as it:
        assert "keeps looking" in it.said
        nodes = wait_for("the node", lambda: json.loads(call("nodes", "--json", env=env).stdout)["items"], 30)
        assert (nodes[0]["driver"]["state"], nodes[0]["simulated"]) == ("absent", False)
        assert gpus(env) == []
        it.end()


def test_an_agent_that_dies_is_started_again(env: Env) -> None:
    """And the user is told in one line."""
    with up("up", "--no-simulate", *ANYWHERE, env=env) as it:
        (agent,) = wait_for("the agent", lambda: it.agents)
        os.kill(agent, signal.SIGKILL)
        wait_for("another agent", lambda: it.agents and it.agents != [agent])
        assert "the agent ended with status -9" in it.said
        it.end()


def test_no_agent_outlives_a_killed_command(env: Env) -> None:
    """kill -9 leaves no process behind."""
    with up("up", "--no-simulate", *ANYWHERE, env=env) as it:
        (agent,) = wait_for("the agent", lambda: it.agents)
        it.process.kill()
        it.process.wait()
        wait_for("the agent's end", lambda: not alive(agent))


def test_a_second_one_on_the_same_folder_is_refused(env: Env) -> None:
    """One line names the folder; the first goes on."""
    with up("up", *ANYWHERE, env=env) as it:
        failed = run("up", *ANYWHERE, env=env, status=1)
        assert re.fullmatch(r"gpufleet: another gpufleet runs on /\S+; end that one.+\n", failed.stderr)
        assert len(wait_for("the GPUs", lambda: gpus(env))) == 8
        it.end()


@pytest.mark.parametrize("command", ["up", "demo", "serve"])
def test_a_port_in_use_is_told(env: Env, command: str) -> None:
    """One line names the address, with status 1."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        failed = run(command, "--listen", address, env=env, status=1)
    assert failed.stderr.splitlines()[-1].startswith(f"gpufleet: can't listen on {address}: the port is in use")


@pytest.mark.slow
def test_the_reader_token_is_kept(env: Env, tmp_path: Path) -> None:
    """Starting again makes no new one, and the data is still there."""
    tokens = []
    for _ in range(2):
        with up("up", *ANYWHERE, env=env) as it:
            wait_for("the GPUs", lambda: gpus(env))
            tokens.append(json.loads((tmp_path / "state/gpufleet/client.json").read_text())["token"])
            it.end()
    assert tokens[0] == tokens[1]
    database = str(tmp_path / "data/gpufleet/simulated/gpufleet.db")
    listed = json.loads(call("token", "list", "--database", database, "--json", env=env).stdout)["items"]
    assert [token["kind"] for token in listed].count("reader") == 1


@pytest.mark.slow
def test_a_demo_has_a_folder_of_its_own_and_begins_anew(env: Env, tmp_path: Path) -> None:
    """Its GPUs are all simulated; another demo shows another fleet, unless it goes on with the data."""

    def enough(wanted: int) -> list[dict[str, Any]]:
        seen = gpus(env)
        return seen if len(seen) >= wanted else []

    def demo(*arguments: str) -> set[str]:
        with up("demo", *ANYWHERE, "--no-faults", *arguments, env=env) as it:
            found = wait_for("the fleet", lambda: enough(int(arguments[1])), 30)
            assert all(gpu["simulated"] for gpu in found)
            it.end()
        return {gpu["id"] for gpu in found}

    first = demo("--gpus", "20")
    assert len(first) == 20
    second = demo("--gpus", "12", "--seed", "2")
    assert (len(second), first & second) == (12, set())
    assert demo("--gpus", "24", "--seed", "3", "--keep") > second
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
    failed = run("serve", "--tls-cert", str(bad), "--tls-key", str(bad), env=env, status=1)
    assert failed.stderr.splitlines()[-1].startswith(f"gpufleet: can't use the certificate {bad}")


def test_a_folder_that_cannot_be_used(env: Env, tmp_path: Path) -> None:
    """One line names it."""
    (tmp_path / "file").write_text("")
    failed = run("up", *ANYWHERE, "--data-dir", str(tmp_path / "file"), env=env, status=1)
    assert re.fullmatch(rf"gpufleet: can't use {tmp_path}/file\S*: .+\n", failed.stderr)
