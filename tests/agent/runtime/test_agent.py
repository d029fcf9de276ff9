"""The whole agent as a process, with a fake driver on one side and a real HTTP server on the other."""

import signal
import socket
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpufleet_agent.catalogue import EVERY_SAMPLE, ON_CHANGE
from gpufleet_agent.wire import digest, unpack

from tests.agent.fake_driver import raise_xids, uuid
from tests.agent.ingest_end import TOKEN, IngestEnd, serving
from tests.agent.process import agent, until


@pytest.fixture
def ingest() -> Iterator[IngestEnd]:
    """A server that takes everything."""
    with serving(IngestEnd()) as end:
        yield end


def pushes(end: IngestEnd) -> tuple[str, str]:
    """The settings that make an agent push to this server."""
    return f"server={end.url}", f"token={TOKEN}"


def has_ticked(folder: Path) -> bool:
    """Whether a sample stands in the open journal."""
    try:
        return any(b"ticked" in path.read_bytes() for path in (folder / "state" / "spool").glob("*.journal"))
    except FileNotFoundError:
        # It was closed between our two looks.
        return False


def test_roster_and_states_arrive_at_once_and_samples_follow(tmp_path: Path, ingest: IngestEnd) -> None:
    """The first report brings roster and states; every stored integer arrives as the driver gave it."""
    with agent(tmp_path, *pushes(ingest)) as process:
        until(lambda: ingest.reports and has_ticked(tmp_path))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    first = ingest.reports[0]
    assert first.roster is not None
    assert [gpu.serial for gpu in first.roster.gpus] == ["serial-0", "serial-1"]
    assert first.roster_digest == digest(first.roster)
    assert {(s.gpu, s.metric): s.stored for s in first.states}[uuid(1), ON_CHANGE[3].name] == 31
    samples = next(samples for report in ingest.reports for samples in report.samples)
    place = 7
    assert unpack(samples.columns[EVERY_SAMPLE[place].name], EVERY_SAMPLE[place].width)[:2] == [700, 701]
    assert ingest.enrolments[0].node == first.node


def test_xids_arrive_within_a_second(tmp_path: Path, ingest: IngestEnd) -> None:
    """Three times the same XID are three events, long before the report would be due."""
    with agent(tmp_path, *pushes(ingest), "interval=60s"):
        until(lambda: ingest.reports)
        raise_xids(tmp_path / "driver", "79 79 79")
        until(lambda: ingest.kinds.count("xid") == 3, 5.0)


def test_a_hanging_driver_is_told_and_recovers(tmp_path: Path, ingest: IngestEnd) -> None:
    """The agent goes on while a call hangs, says so with its beginning, and says when that is over."""
    with agent(tmp_path, *pushes(ingest), "silence=2"):
        until(lambda: ingest.reports)
        (tmp_path / "driver" / "hang").touch()
        until(lambda: "driver_unresponsive" in ingest.kinds)
        driver = next(report.driver for report in ingest.reports if report.driver.state == "unresponsive")
        assert driver.since < ingest.reports[-1].created.wall
        (tmp_path / "driver" / "hang").unlink()
        until(lambda: "driver_recovered" in ingest.kinds)
        assert ingest.reports[-1].driver.state == "ok"


def test_what_is_read_while_the_server_is_silent_goes_to_disk(tmp_path: Path) -> None:
    """A server that takes a report and never answers holds up neither the samples nor the end for long."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        (tmp_path / "state").mkdir()
        node = "00000000-0000-4000-8000-000000000001"
        (tmp_path / "state" / "node.json").write_text(f'{{"node":"{node}","basis":"random"}}')
        (tmp_path / "state" / "credential.json").write_text(f'{{"node":"{node}","credential":"c"}}')
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with agent(tmp_path, f"server={url}", f"token={TOKEN}") as process:
            connection, _ = silent.accept()
            until(lambda: has_ticked(tmp_path), 20)
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
        connection.close()


def test_a_reader_that_crashes_is_replaced(tmp_path: Path, ingest: IngestEnd) -> None:
    """A segmentation fault in the driver's library is an event and nothing worse."""
    with agent(tmp_path, *pushes(ingest)):
        until(lambda: ingest.reports)
        (tmp_path / "driver" / "crash").touch()
        until(lambda: {"reader_crashed", "driver_recovered"} <= set(ingest.kinds))


def test_no_driver_is_reported_as_absent(tmp_path: Path, ingest: IngestEnd) -> None:
    """A host without a driver reports itself, with no GPU and the reason, and notices when the driver comes."""
    (tmp_path / "driver").mkdir()
    (tmp_path / "driver" / "absent").touch()
    with agent(tmp_path, *pushes(ingest)):
        until(lambda: ingest.reports)
        first = ingest.reports[0]
        assert (first.driver.state, first.driver.detail) == ("absent", "the fake driver is not loaded")
        assert first.roster is not None
        assert first.roster.gpus == []
        (tmp_path / "driver" / "absent").unlink()
        until(lambda: any(report.roster and report.roster.gpus for report in ingest.reports))


def test_a_killed_agent_loses_nothing_it_has_read(tmp_path: Path) -> None:
    """Ticks that were read before kill -9 arrive once, out of the journal."""
    end = IngestEnd()
    with serving(end):
        pass  # the port is known; the server is down
    journal = tmp_path / "state" / "spool"
    with agent(tmp_path, *pushes(end)) as process:
        until(lambda: has_ticked(tmp_path))
        process.kill()
        process.wait(60)
    with serving(end), agent(tmp_path, *pushes(end)):
        until(lambda: end.times and len(end.reports) > 2)
    assert len(end.times) == len(set(end.times)) >= 1
    assert [report.seq for report in end.reports] == sorted({report.seq for report in end.reports})
    assert not list(journal.glob("*.journal"))


def test_the_reader_dies_with_the_agent(tmp_path: Path, ingest: IngestEnd) -> None:
    """No process is left behind when the agent is killed."""
    with agent(tmp_path, *pushes(ingest)) as process:
        until(lambda: ingest.reports)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        assert len(children) == 1
        process.kill()
        process.wait(60)
        until(lambda: not Path("/proc", children[0]).exists() or "Z" in _state(int(children[0])))


def test_what_waits_is_pushed_when_the_server_comes_back(tmp_path: Path) -> None:
    """Reports made while the server was down arrive in order once it is up."""
    end = IngestEnd()
    with serving(end), agent(tmp_path, *pushes(end)):
        until(lambda: end.reports)
    with agent(tmp_path, *pushes(end)) as process:
        until(lambda: list((tmp_path / "state" / "spool").glob("*.report")))
        raise_xids(tmp_path / "driver", "13")
        until(lambda: len(list((tmp_path / "state" / "spool").glob("*.report"))) > 1)
        with serving(end):
            until(lambda: "xid" in end.kinds)
            process.terminate()
            process.wait(60)
    assert [report.seq for report in end.reports] == sorted({report.seq for report in end.reports})
    assert not list((tmp_path / "state" / "spool").iterdir())


def test_a_refused_report_is_put_aside_and_told(tmp_path: Path, ingest: IngestEnd) -> None:
    """One bad report does not hold up the others; the server's words come back as an event."""
    ingest.answers = [(422, "samples[0].times: nonsense")]
    with agent(tmp_path, *pushes(ingest)):
        until((tmp_path / "state" / "rejected").exists)
        raise_xids(tmp_path / "driver", "13")
        until(lambda: {"report_rejected", "xid"} <= set(ingest.kinds))
    told = next(event for report in ingest.reports for event in report.events if event.kind == "report_rejected")
    assert "samples[0].times: nonsense" in told.message
    assert len(list((tmp_path / "state" / "rejected").iterdir())) == 1


def test_a_busy_server_is_asked_again_later(tmp_path: Path, ingest: IngestEnd) -> None:
    """429 with Retry-After keeps the report and waits as asked."""
    ingest.answers, ingest.headers = [(429, "too many")], {"Retry-After": "1"}
    with agent(tmp_path, *pushes(ingest)):
        until(lambda: ingest.reports)
    assert ingest.reports[0].roster is not None


def test_the_roster_is_sent_again_when_the_server_asks(tmp_path: Path, ingest: IngestEnd) -> None:
    """A server that lost the roster gets it, and all states with it, in the next report."""
    with agent(tmp_path, *pushes(ingest)):
        until(lambda: ingest.reports)
        ingest.roster_wanted = True
        raise_xids(tmp_path / "driver", "13")
        until(lambda: sum(report.roster is not None for report in ingest.reports) == 2)
    again = [report for report in ingest.reports if report.roster is not None][1]
    assert len(again.states) == 2 * len(ON_CHANGE)


def test_a_withdrawn_credential_is_replaced_by_the_join_token(tmp_path: Path, ingest: IngestEnd) -> None:
    """401 makes an agent that has a join token enrol again."""
    with agent(tmp_path, *pushes(ingest)):
        until(lambda: ingest.reports)
        ingest.credential = "another"
        raise_xids(tmp_path / "driver", "13")
        until(lambda: "xid" in ingest.kinds)
    assert len(ingest.enrolments) == 2


def test_a_lost_gpu_is_an_event(tmp_path: Path, ingest: IngestEnd) -> None:
    """A GPU that falls off the bus comes with one event and a new roster; so does its return."""

    def states() -> list[list[str]]:
        return [[gpu.state for gpu in report.roster.gpus] for report in ingest.reports if report.roster is not None]

    with agent(tmp_path, *pushes(ingest)):
        until(lambda: ingest.reports)
        (tmp_path / "driver" / "lost").touch()
        until(lambda: states() == [["ok", "ok"], ["lost", "ok"]])
        (tmp_path / "driver" / "lost").unlink()
        until(lambda: states()[2:] == [["ok", "ok"]])
    assert [kind for kind in ingest.kinds if kind.startswith("gpu_")] == ["gpu_lost", "gpu_returned"]


def test_metrics_are_served_on_loopback(tmp_path: Path) -> None:
    """An agent without a server serves its own metrics, and keeps no spool."""
    with agent(tmp_path, "metrics_listen=127.0.0.1:0"):
        until(lambda: b"metrics at" in (tmp_path / "log").read_bytes())
        url = next(word for word in (tmp_path / "log").read_text().split() if word.startswith("http://"))
        until(lambda: b"gpufleet_gpu_power_watts" in _get(url))
    assert not (tmp_path / "state" / "spool").exists()


def test_a_full_disk_does_not_stop_the_agent(tmp_path: Path, ingest: IngestEnd) -> None:
    """No file may grow beyond 300 bytes, the log included: reports go out of memory, and the trouble is told."""
    with agent(tmp_path, *pushes(ingest), "fsize=300") as process:
        until(lambda: ingest.times)
        raise_xids(tmp_path / "driver", "13")
        until(lambda: {"spool_degraded", "xid"} <= set(ingest.kinds))
        assert process.poll() is None


def test_a_second_agent_on_the_same_folder_is_refused(tmp_path: Path, ingest: IngestEnd) -> None:
    """Two agents never share a spool."""
    with agent(tmp_path, *pushes(ingest)):
        until(lambda: ingest.reports)
        with agent(tmp_path, *pushes(ingest)) as second:
            assert second.wait(60) == 1
    assert b"another agent is using it" in (tmp_path / "log").read_bytes()


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=5) as answer:
        body: bytes = answer.read()
    return body


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return "Z"
