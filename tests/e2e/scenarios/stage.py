"""A server, an agent on a simulated driver, and what somebody who looks after both gets to see."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from gpufleet_agent.runtime.control import Ask, NoAgent, ask
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.store import tokens

from tests.e2e.scenarios.kernel import Kernel
from tests.e2e.stack import BIN, Server, agent, gpufleet, wait_for
from tests.e2e.stack import opened as store_of
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Device, Scenario, busy, h100_sxm

Item = dict[str, Any]
T = TypeVar("T")
JOIN, READER = TokenKind.JOIN, TokenKind.READER


@dataclass
class House:
    """A server that lasts for many scenarios, each with a node and a site of its own; `reader`, `join` are tokens."""

    server: Server
    kernel: Kernel
    reader: str
    join: str


@dataclass
class Stage:
    """A node of it: its agent, its driver, and a place to keep things. `host` is the name of node and site."""

    folder: Path
    house: House
    scenario: Scenario
    host: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def kernel(self) -> Kernel:
        """What moves the time."""
        return self.house.kernel

    @property
    def state(self) -> Path:
        """The agent's state folder."""
        return self.folder / "agent"

    def write(self) -> None:
        """Have the driver do what the scenario says now."""
        self.scenario.write(self.folder / "scenario")

    def now(self) -> float:
        """The time on the scenario's clock."""
        return self.kernel.now() - self.scenario.epoch

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[bytes]]:
        """The agent as it is installed, while the block runs."""
        house, options = self.house, ("--interval", "1s", "--name", self.host, "--site", self.host)
        with agent(self.folder, house.server.url, house.join, self._env(), *options) as process:
            self.process = process
            yield process

    def end(self) -> None:
        """Stop the agent that runs."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(30) == 0

    def poke(self) -> None:
        """Have the agent look at its clock: what it waits for may be over."""
        try:
            ask(self.state, Ask("status"), 10)
        except (NoAgent, TimeoutError):
            time.sleep(0.02)

    def pass_time(self, seconds: float, step: float = 12.0) -> None:
        """Let time go by, so much at once that a report is due; none is on its way meanwhile."""
        end = self.kernel.ahead + seconds
        while self.kernel.ahead < end:
            self.kernel.advance(min(step, end - self.kernel.ahead))
            now = self.kernel.now()
            self.until("a report", lambda: (seconds_of(self.node()["last_seen"]) or 0) >= now, step=0)  # noqa: B023

    def until(self, what: str, look: Callable[[], T | None], seconds: float = 60, step: float = 0.1) -> T:
        """What `look` gives once it is true, while time goes by."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if found := look():
                return found
            self.kernel.advance(step)
            self.poke()
            time.sleep(0.02)
        raise AssertionError(f"{what} did not come; the agent says:\n{(self.folder / 'agent.log').read_text()}")

    def get(self, path: str, **params: Any) -> Any:
        """What the API says."""
        return self.house.server.get(path, self.house.reader, **params)

    def node(self) -> Item:
        """What the API says of the node."""
        found: Item = self.get(f"/nodes/{self.host}")
        return found

    def knows(self, state: str) -> Callable[[], Item | None]:
        """Whether the API says that the node is in this state: it, if so."""

        def look() -> Item | None:
            found = self.get("/nodes", node=self.host, state=state)["items"]
            return found[0] if found else None

        return look

    def gpus(self, **wanted: Any) -> dict[str, Item]:
        """What the API lists of the node's GPUs, by UUID."""
        return {one["id"]: one for one in self.get("/gpus", node=self.host, **wanted)["items"]}

    def gpu(self, device: Device) -> Item:
        """All that the API says of a GPU."""
        found: Item = self.get(f"/gpus/{uuid(device)}")
        return found

    def states(self) -> dict[str, str]:
        """The state of each GPU that the node holds."""
        return {name: one["state"] for name, one in self.gpus().items()}

    def are(self, *states: str) -> Callable[[], bool]:
        """Whether these are the states of the GPUs, in their order."""
        return lambda: tuple(self.states().values()) == states

    def counts(self) -> dict[str, int]:
        """How many GPUs the summary of the site has in which state, without states that none is in."""
        by_state = self.get("/summary", site=self.host)["gpus"]["by_state"]
        return {state: count for state, count in by_state.items() if count}

    def events(self, *kinds: str) -> list[Item]:
        """Events of these kinds, oldest first."""
        found: list[Item] = self.get("/events", node=self.host, kind=list(kinds), limit=100)["items"]
        return found[::-1]

    def told(self) -> list[str]:
        """The kinds of all events but the node's first, oldest first."""
        items = self.get("/events", node=self.host, limit=500)["items"][::-1]
        return [event["kind"] for event in items if event["kind"] != "node_added"]

    def tells(self, *kinds: str) -> Callable[[], bool]:
        """Whether there are events of all these kinds."""
        return lambda: set(kinds) <= set(self.told())

    def shown(self, *command: str) -> str:
        """What `gpufleet …` prints, by the same clock."""
        return gpufleet(*command, "--server", self.house.server.url, "--token", self.house.reader, env=self._env())

    def sampled(self, device: Device) -> float | None:
        """When its newest sample was taken, s since the epoch."""
        return seconds_of(self.gpu(device)["at"])

    def has_samples_after(self, moment: float) -> Callable[[], bool]:
        """Whether every GPU has a sample that was taken after a moment."""
        return lambda: bool(self.gpus()) and all((seconds_of(g["at"]) or 0) > moment for g in self.gpus().values())

    def goes_on(self) -> None:
        """Wait for samples of all GPUs that are taken from now on."""
        self.until("samples", self.has_samples_after(self.kernel.now()))

    def series(self, device: Device, *metrics: str) -> dict[str, list[float | None]]:
        """Every sample of some metrics of a GPU."""
        path = f"/gpus/{uuid(device)}/samples"
        found = self.get(path, step="raw", metrics=",".join(metrics))["metrics"]
        return {name: found[name]["values"] for name in metrics}

    def agent_says(self, *command: str) -> tuple[int, Item]:
        """Exit code and JSON of `gpufleet-agent …`."""
        arguments = [str(BIN / "gpufleet-agent"), *command, "--state-dir", str(self.state), "--json"]
        done = subprocess.run(arguments, env=self._env(), capture_output=True, text=True, timeout=60, check=False)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def _env(self) -> dict[str, str]:
        return environment(self.folder / "scenario") | self.kernel.environment

    def readers(self) -> list[int]:
        """The agent's children."""
        assert self.process is not None
        pid = self.process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


_board = count()


def boards(number: int) -> list[Device]:
    """Boards at work that no other scenario has."""
    return [busy(h100_sxm(index), index) for index in islice(_board, number)]


def uuid(device: Device) -> str:
    """A GPU's name."""
    return str(device.values["uuid"])


def seconds_of(iso: str | None) -> float | None:
    """A time of the API, s since the epoch."""
    return None if iso is None else datetime.fromisoformat(iso).timestamp()


@contextmanager
def opened(folder: Path) -> Iterator[House]:
    """A server without nodes."""
    kernel, server = Kernel(folder / "kernel"), Server(folder)
    command = [str(BIN / "gpufleet"), "serve", "--database", server.database]
    command += ["--listen", f"127.0.0.1:{server.port}"]
    with (folder / "server.log").open("ab") as log:
        server.process = subprocess.Popen(command, env=os.environ | kernel.environment, stdout=log, stderr=log)
    try:
        wait_for("the server", server.ready, 60)
        with store_of(server.database) as store, store.writing() as connection:
            now = round(kernel.now() * 1e6)
            made = {kind: tokens.create(connection, kind, kind, now=now)[1] for kind in (JOIN, READER)}
        yield House(server, kernel, made[READER], made[JOIN])
    finally:
        server.kill(signal.SIGTERM)


@contextmanager
def reporting(folder: Path, house: House, *gpus: Device) -> Iterator[Stage]:
    """A node whose agent has told a sample of each of these GPUs, and goes on while the block runs."""
    name = f"n{uuid4().hex[:8]}"
    (folder / "agent").mkdir()
    # Nodes of one machine; else they would be one node.
    (folder / "agent" / "node.json").write_text(json.dumps({"node": str(uuid4()), "basis": "random"}))
    scenario = Scenario([*gpus], epoch=house.kernel.now())
    stage = Stage(folder, house, scenario, name)
    stage.write()
    with stage.running():
        stage.until("samples", stage.has_samples_after(0))
        yield stage
