"""Real processes for end-to-end tests: a server, an agent, and ways to wait for what they do."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx
from gpufleet_server.store.engine import Store

from tests.ports import free_port

BIN = Path(sys.executable).parent
T = TypeVar("T")


def wait_for(what: str, look: Callable[[], T | None], seconds: float = 60) -> T:
    """What `look` returns once it is true; AssertionError with `what` when it does not come in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not come within {seconds} s")


@dataclass
class Server:
    """A `gpufleet serve` that can be killed and started again on the same database."""

    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    # A PostgreSQL database; without one, an SQLite file in the folder.
    postgresql: str | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def database(self) -> str:
        """The URL of its database."""
        return self.postgresql or f"sqlite:///{self.folder / 'gpufleet.db'}"

    def start(self) -> None:
        """Start it and wait until it is ready."""
        command = [str(BIN / "gpufleet"), "serve", "--database", self.database, "--listen", f"127.0.0.1:{self.port}"]
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for("the server", self.ready, 60)

    def ready(self) -> bool:
        """Whether it answers that it is ready."""
        try:
            return httpx.get(f"{self.url}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def kill(self, how: signal.Signals = signal.SIGKILL) -> int:
        """End it by a signal; its exit status."""
        assert self.process is not None
        self.process.send_signal(how)
        return self.process.wait(60)

    def token(self, kind: str) -> str:
        """A new token of a kind, made on the database."""
        command = ["token", "create", "--kind", kind, "--name", f"test {kind}", "--database", self.database, "--json"]
        made: dict[str, Any] = json.loads(gpufleet(*command))
        return str(made["token"])

    def get(self, path: str, token: str, **params: Any) -> Any:
        """The JSON of an API path below /api/v1."""
        headers = {"authorization": f"Bearer {token}"}
        answer = httpx.get(f"{self.url}/api/v1{path}", params=params, headers=headers, timeout=10)
        answer.raise_for_status()
        return answer.json()


def gpufleet(*arguments: str, env: dict[str, str] | None = None) -> str:
    """What the `gpufleet` command prints; CalledProcessError where it fails."""
    done = subprocess.run(
        [str(BIN / "gpufleet"), *arguments], env=env, check=True, capture_output=True, text=True, timeout=60
    )
    return done.stdout


@contextmanager
def opened(database: str) -> Iterator[Store]:
    """The store at a URL, to look into."""
    store = Store.open(database)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def server(folder: Path, postgresql: str | None = None) -> Iterator[Server]:
    """A server that runs while the block does."""
    it = Server(folder, postgresql=postgresql)
    try:
        it.start()
        yield it
    finally:
        if it.process is not None and it.process.poll() is None:
            it.kill(signal.SIGTERM)


@contextmanager
def agent(
    folder: Path, url: str, token: str, env: dict[str, str], *options: str, root: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A `gpufleet-agent run` that runs while the block does; `env` says which driver it finds.

    Below `root` it finds the host's files; without one it leaves the machine's kernel log alone, which may tell of
    real GPUs.
    """
    program = [str(BIN / "gpufleet-agent")] if root is None else [sys.executable, "-m", "tests.e2e.rooted", str(root)]
    command = [*program, "run", "--server", url, "--token", token]
    command += ["--state-dir", str(folder / "agent"), *(["--kernel-log", "off"] if root is None else []), *options]
    with (folder / "agent.log").open("ab") as log:
        process = subprocess.Popen(command, env=os.environ | env, stdout=log, stderr=log)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(60)
