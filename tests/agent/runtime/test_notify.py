"""What systemd is told, at the socket where it would listen."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from gpufleet_agent.runtime.clock import monotonic
from gpufleet_agent.runtime.notify import Notifier

from tests.agent.process import ROOT


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """The end where the service's messages come."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


def test_ready_status_and_end(systemd: socket.socket) -> None:
    """Each once, a status only when it is new."""
    notifier = Notifier({"NOTIFY_SOCKET": systemd.getsockname()})
    notifier.ready()
    for status in ("driver ok", "driver ok", "driver failed"):
        notifier.stand(status)
    notifier.tend()
    notifier.stopping()
    assert [systemd.recv(99) for _ in range(4)] == [
        b"READY=1",
        b"STATUS=driver ok",
        b"STATUS=driver failed",
        b"STOPPING=1",
    ]
    assert notifier.due == float("inf")


def test_life_is_shown_twice_as_often_as_asked(systemd: socket.socket) -> None:
    """Half of the watchdog's time, and not before."""
    notifier = Notifier(
        {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "100000", "WATCHDOG_PID": str(os.getpid())}
    )
    notifier.ready()
    began = monotonic()
    notifier.tend()
    assert began < notifier.due <= monotonic() + 0.05
    notifier.due = monotonic()
    notifier.tend()
    assert [systemd.recv(99) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]


@pytest.mark.parametrize(
    "environment",
    [{}, {"NOTIFY_SOCKET": "vsock:2:1"}, {"NOTIFY_SOCKET": "/none/notify"}, {"NOTIFY_SOCKET": "@nobody-is-there"}],
)
def test_where_nobody_asks_nothing_happens(environment: dict[str, str]) -> None:
    """Neither without systemd nor with one that has gone."""
    notifier = Notifier(environment)
    notifier.ready()
    notifier.stand("driver ok")
    notifier.stopping()


def test_another_process_is_watched() -> None:
    """A watchdog that is meant for whoever started us is not ours."""
    notifier = Notifier({"NOTIFY_SOCKET": "/none/notify", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"})
    notifier.ready()
    assert notifier.due == float("inf")


def test_an_agent_tells_systemd_how_it_stands(tmp_path: Path, systemd: socket.socket) -> None:
    """Ready, the driver's state, signs of life between samples, and its end."""
    (tmp_path / "driver").mkdir()
    command = [sys.executable, "-m", "tests.agent.process", str(tmp_path / "driver"), str(tmp_path / "state")]
    environment = {**os.environ, "NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "300000"}
    process = subprocess.Popen([*command, "interval=60s"], cwd=ROOT, env=environment)
    told: list[bytes] = []
    while told.count(b"WATCHDOG=1") < 2 or b"STATUS=driver ok" not in told:
        told.append(systemd.recv(999))
    assert told[0] == b"READY=1"
    process.send_signal(signal.SIGTERM)
    while told[-1] != b"STOPPING=1":
        told.append(systemd.recv(999))
    assert process.wait(60) == 0
