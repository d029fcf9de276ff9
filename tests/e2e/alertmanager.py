"""A real Alertmanager that tells a webhook, its HTTP API, and a way to it that takes its time."""

import json
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.stack import wait_for
from tests.ports import free_port

PROGRAM = "prometheus-alertmanager"
# Debian's reads them from there and nowhere else.
_TEMPLATES = Path("/usr/share/prometheus/alertmanager/default.tmpl")
_THERE = shutil.which(PROGRAM) is not None and _TEMPLATES.exists()
needs_alertmanager = pytest.mark.skipif(
    not _THERE, reason=f"{PROGRAM} or its templates are not there: make alert-tools"
)


@dataclass
class Alertmanager:
    """One that can be ended and started again on the same data. It tells of each alert by itself, and at once."""

    folder: Path
    webhook: str
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it is ready."""
        self.folder.mkdir(exist_ok=True)
        quick = {"group_wait": "20ms", "group_interval": "100ms", "repeat_interval": "24h", "group_by": ["..."]}
        receiver = {"name": "all", "webhook_configs": [{"url": self.webhook, "send_resolved": True}]}
        config = {"route": {"receiver": "all", **quick}, "receivers": [receiver]}
        # JSON is YAML.
        (self.folder / "alertmanager.yml").write_text(json.dumps(config))
        command = [PROGRAM, f"--config.file={self.folder / 'alertmanager.yml'}", "--cluster.listen-address="]
        command += [f"--storage.path={self.folder / 'data'}", f"--web.listen-address=127.0.0.1:{self.port}"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for("Alertmanager", self._is_ready)
        except AssertionError:
            self.end(signal.SIGKILL)
            raise

    def end(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End it by a signal."""
        if self.process is not None:
            self.process.send_signal(how)
            self.process.wait(60)
            self.process = None

    def alerts(self) -> list[dict[str, Any]]:
        """The alerts that it holds for firing."""
        answer = httpx.get(f"{self.url}/api/v2/alerts", timeout=10)
        answer.raise_for_status()
        return list(answer.json())

    def hosts(self) -> set[str]:
        """The hostnames of the alerts that it holds for firing."""
        return {one["labels"].get("hostname", "") for one in self.alerts()}

    def _is_ready(self) -> bool:
        with suppress(httpx.TransportError):
            return httpx.get(f"{self.url}/-/ready", timeout=2).status_code == 200
        return False


@contextmanager
def alertmanager(folder: Path, webhook: str) -> Iterator[Alertmanager]:
    """One that runs while the block does, and tells the webhook at a URL."""
    it = Alertmanager(folder, webhook)
    it.start()
    try:
        yield it
    finally:
        it.end()


@dataclass
class Delay:
    """A way to a TCP port on which what is answered takes `seconds`."""

    url: str
    seconds: float


@contextmanager
def delayed(port: int, seconds: float) -> Iterator[Delay]:
    """Such a way, while the block runs."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        it, open_now = Delay(f"http://127.0.0.1:{listening.getsockname()[1]}", seconds), list[socket.socket]()
        thread = threading.Thread(target=_accept, args=(listening, port, it, open_now), daemon=True)
        thread.start()
        try:
            yield it
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in open_now:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()


def _accept(listening: socket.socket, port: int, it: Delay, open_now: list[socket.socket]) -> None:
    with suppress(OSError):
        while True:
            near, _ = listening.accept()
            far = socket.create_connection(("127.0.0.1", port))
            open_now += [near, far]
            threading.Thread(target=_carry, args=(near, far, None), daemon=True).start()
            threading.Thread(target=_carry, args=(far, near, it), daemon=True).start()


def _carry(source: socket.socket, sink: socket.socket, delay: Delay | None) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            if delay is not None:
                time.sleep(delay.seconds)
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
