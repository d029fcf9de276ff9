"""An agent, as a process of its own, that is told to let go of the driver and to take it up again."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from gpufleet_agent.cli import main
from gpufleet_agent.runtime import supervisor as supervisor_module
from gpufleet_agent.runtime.control import Answer, Ask, NoAgent, Standing, ask
from gpufleet_agent.runtime.maintenance import Maintenance
from gpufleet_agent.runtime.supervisor import Patience, Supervisor
from gpufleet_agent.wire import Backlog, Report

from tests.agent.fake_driver import FakeBackend
from tests.agent.ingest_end import TOKEN, IngestEnd, serving
from tests.agent.process import agent, until

# The reader is forked beside the thread that asks.
pytestmark = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")


@pytest.fixture
def ingest() -> Iterator[IngestEnd]:
    """A server that takes everything."""
    with serving(IngestEnd()) as end:
        yield end


def pushes(end: IngestEnd) -> tuple[str, str]:
    """The settings that make an agent push to this server."""
    return f"server={end.url}", f"token={TOKEN}"


def children(process: subprocess.Popen[bytes]) -> list[str]:
    """The processes that an agent has started."""
    return Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()


def told(folder: Path, asked: Ask) -> Standing:
    """How the agent stands after it did what it was asked."""
    answer = ask(folder / "state", asked, 20)
    assert (answer.done, answer.problem, answer.note) == (True, "", "")
    assert answer.standing is not None
    return answer.standing


def last(end: IngestEnd) -> Report:
    """The report that came last."""
    return end.reports[-1]


def test_pause_and_resume(tmp_path: Path, ingest: IngestEnd) -> None:
    """When the answer comes nothing reads; the server hears since when and why, once each, and nothing of a failure."""
    with agent(tmp_path, *pushes(ingest)) as process:
        until(lambda: ingest.reports)
        assert len(children(process)) == 1
        standing = told(tmp_path, Ask("pause", "driver update"))
        assert children(process) == []
        assert (standing.reader, standing.driver and standing.driver.state) == (0, "paused")
        until(lambda: last(ingest).driver.state == "paused")
        assert last(ingest).driver.detail == "driver update"
        assert told(tmp_path, Ask("resume")).reader
        until(lambda: last(ingest).driver.state == "ok")
        assert ingest.kinds == ["paused", "resumed"]
        times = len(ingest.times)
        until(lambda: len(ingest.times) > times)


def test_both_may_be_said_again(tmp_path: Path, ingest: IngestEnd) -> None:
    """It goes on since it began, with the words and the time of whoever spoke last; that is no event."""
    with agent(tmp_path, *pushes(ingest)):
        until(lambda: ingest.reports)
        told(tmp_path, Ask("resume"))
        first, second = told(tmp_path, Ask("pause", "a", 60.0)), told(tmp_path, Ask("pause", "b"))
        assert first.driver
        assert second.driver
        assert (second.driver.since, second.driver.detail) == (first.driver.since, "b")
        until(lambda: last(ingest).driver.detail == "b")
        told(tmp_path, Ask("resume"))
        told(tmp_path, Ask("resume"))
        until(lambda: "resumed" in ingest.kinds)
        assert ingest.kinds == ["paused", "resumed"]


def test_it_lasts_over_a_restart(tmp_path: Path, ingest: IngestEnd) -> None:
    """Also over kill -9: no reader is started, and the server hears the same as before."""
    with agent(tmp_path, *pushes(ingest)) as process:
        until(lambda: ingest.reports)
        before = told(tmp_path, Ask("pause", "VFIO")).driver
        process.kill()
        process.wait(60)
    with agent(tmp_path, *pushes(ingest)) as process:
        count = len(ingest.reports)
        until(lambda: len(ingest.reports) > count)
        assert last(ingest).driver == before
        assert children(process) == []
        told(tmp_path, Ask("resume"))
        until(lambda: last(ingest).driver.state == "ok")
    assert ingest.kinds == ["paused", "resumed"]


def test_it_ends_by_itself(tmp_path: Path, ingest: IngestEnd) -> None:
    """After the time that was given, with an event that says so."""
    with agent(tmp_path, *pushes(ingest)):
        until(lambda: ingest.reports)
        told(tmp_path, Ask("pause", "profiler", 0.5))
        until(lambda: "resumed" in ingest.kinds and last(ingest).driver.state == "ok")
        (event,) = [event for report in ingest.reports for event in report.events if event.kind == "resumed"]
        assert event.message.startswith("its time is over; paused for ")
        assert event.detail == {"reason": "profiler"}
    assert not (tmp_path / "state" / "paused.json").exists()


def test_a_driver_that_is_gone_afterwards_is_told(tmp_path: Path, ingest: IngestEnd) -> None:
    """Resuming says why nothing is read; the agent has taken up its work all the same."""
    with agent(tmp_path, *pushes(ingest)):
        until(lambda: ingest.reports)
        told(tmp_path, Ask("pause"))
        (tmp_path / "driver" / "absent").touch()
        answer = ask(tmp_path / "state", Ask("resume"), 20)
        assert (answer.done, answer.problem) == (
            False,
            "the driver does not answer: absent: the fake driver is not loaded",
        )
        (tmp_path / "driver" / "absent").unlink()
        until(lambda: last(ingest).driver.state == "ok")


def test_a_hanging_driver_is_let_go(tmp_path: Path, ingest: IngestEnd) -> None:
    """A reader that hangs where it can be ended is ended, and what was told as unresponsive is paused."""
    with agent(tmp_path, *pushes(ingest), "silence=2") as process:
        until(lambda: ingest.reports)
        (tmp_path / "driver" / "hang").touch()
        until(lambda: "driver_unresponsive" in ingest.kinds)
        told(tmp_path, Ask("pause"))
        assert children(process) == []
        until(lambda: last(ingest).driver.state == "paused")


def test_a_reader_in_the_kernel_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It cannot be ended: nobody is told that the driver is free, until it is."""
    (tmp_path / "state").mkdir()
    folder = os.open(tmp_path / "state", os.O_RDONLY)
    supervisor = Supervisor(FakeBackend(tmp_path), 0.1, Patience(silence=5.0))
    backlog = Backlog()

    def stand() -> Standing:
        return Standing(
            version="0",
            node="n",
            pid=os.getpid(),
            reader=supervisor.reader,
            driver=supervisor.driver,
            pause=maintenance.pause,
            sampled_at=None,
            server=None,
            trouble="",
            backlog=backlog,
        )

    maintenance = Maintenance(tmp_path / "state", folder, supervisor, stand)
    kinds: list[str] = []

    def tend() -> bool:
        maintenance.tend()
        supervisor.tend()
        kinds.extend(event.kind for event in maintenance.take_events())
        maintenance.answer()
        return True

    until(lambda: tend() and supervisor.driver)
    monkeypatch.setattr(supervisor_module, "_STUCK_SECONDS", 0.2)
    monkeypatch.setattr(os, "waitpid", lambda pid, options: (0, 0))
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, tmp_path / "state", Ask("pause"), 20)
        until(lambda: tend() and asked.done())
    answer = asked.result()
    assert not answer.done
    assert f"process {supervisor.reader}, which reads the driver, hangs in the kernel" in answer.problem
    assert kinds == []
    monkeypatch.undo()
    until(lambda: tend() and supervisor.has_let_go)
    tend()
    assert kinds == ["paused"]
    maintenance.close()
    os.close(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can ask as somebody else")
def test_only_root_and_the_agent_itself_may_ask(tmp_path: Path, ingest: IngestEnd) -> None:
    """Whatever the rights of the files are."""
    state = tmp_path / "state"
    with agent(tmp_path, *pushes(ingest)):
        until(lambda: ingest.reports)
        state.chmod(0o711)
        (state / "control.sock").chmod(0o666)
        done = subprocess.run([sys.executable, "-c", AS_NOBODY], cwd=state, check=True, capture_output=True)
        answer = msgspec.json.decode(done.stdout, type=Answer)
        assert (answer.done, answer.standing) == (False, None)
        assert "only root and the agent's own user may ask" in answer.problem
        assert told(tmp_path, Ask("status")).reader


AS_NOBODY = """
import os, socket, sys
os.setuid(65534)
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect("control.sock")
    sock.sendall(b'{"command":"pause"}' + bytes([10]))
    sys.stdout.buffer.write(sock.recv(9999))
"""


def test_rubbish_is_refused(tmp_path: Path, ingest: IngestEnd) -> None:
    """With what was wrong; the agent goes on."""
    with agent(tmp_path, *pushes(ingest)):
        until(lambda: ingest.reports)
        deep = b'{"a":' + b"[" * 4000 + b"\n"
        lines = ((b'{"command":"stop"}\n', "stop"), (b"x\n", "JSON"), (b"y" * 9999, "one line"), (deep, "depth"))
        for line, word in lines:
            with socket.socket(socket.AF_UNIX) as sock:
                sock.connect(str(tmp_path / "state" / "control.sock"))
                sock.sendall(line)
                answer = msgspec.json.decode(sock.recv(9999), type=Answer)
            assert word in answer.problem
        assert told(tmp_path, Ask("status")).pause is None


def test_the_commands(tmp_path: Path, ingest: IngestEnd, capsys: pytest.CaptureFixture[str]) -> None:
    """What they print, with exit codes; a state folder may have a name of any length."""
    folder = tmp_path / ("a" * 120)
    folder.mkdir()
    state = ("--state-dir", str(folder / "state"))
    assert main(["pause", *state]) == 1
    assert "no agent runs with this state folder" in capsys.readouterr().err
    with agent(folder, *pushes(ingest)):
        until(lambda: ingest.times)
        assert main(["pause", "--reason", "MIG", "--for", "2h", *state]) == 0
        assert "the driver is let go: MIG (until 20" in capsys.readouterr().out
        assert main(["status", *state]) == 0
        shown = capsys.readouterr().out
        assert "driver    paused since 20" in shown
        assert f"server    {ingest.url}, reachable" in shown
        assert main(["status", "--json", *state]) == 0
        status = msgspec.json.decode(capsys.readouterr().out)["agent"]
        assert (status["reader"], status["pause"]["reason"], status["driver"]["state"]) == (0, "MIG", "paused")
        (folder / "driver" / "absent").touch()
        assert main(["resume", *state]) == 3
        assert "absent: the fake driver is not loaded" in capsys.readouterr().err
        until(lambda: last(ingest).driver.state == "absent")
        (folder / "driver" / "absent").unlink()
        until(lambda: last(ingest).driver.state == "ok")
        assert main(["resume", *state]) == 0
        assert capsys.readouterr().out == "the driver is read again\n"
        ingest.answers.append((429, "later"))
        assert main(["pause", *state]) == 0
        until(lambda: main(["status", *state]) or "HTTP 429: refused: later" in capsys.readouterr().out)
    with pytest.raises(NoAgent):
        ask(folder / "state", Ask("status"), 5)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--for", "soon"], "expected a number with a unit"),
        (["--for", "0"], "expected more than 0s and at most 366d"),
        (["--reason", "a\nb"], "on one line"),
        (["--reason", "x" * 201], "at most 200 characters"),
    ],
)
def test_what_cannot_be_is_refused(options: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """With exit code 2 and the value."""
    with pytest.raises(SystemExit) as ended:
        main(["pause", *options])
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "options", "code", "said"),
    [
        ('interval = "x"\nstate_dir = "state"', [], 1, "state: no agent runs with this state folder"),
        ("state_dir = 7", [], 2, "state_dir = 7: expected a text"),
        ("interval =", [], 2, "agent.toml: Invalid value"),
        ("interval =", ["--state-dir", "state"], 1, "state: no agent runs with this state folder"),
    ],
)
def test_of_the_settings_only_the_folder_counts(
    text: str, options: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The agent that runs has read better ones, and it has to let go of the driver."""
    (tmp_path / "agent.toml").write_text(text)
    assert main(["pause", "--config", str(tmp_path / "agent.toml"), *options]) == code
    assert said in capsys.readouterr().err
