"""What is killed and cut: a PostgreSQL, two servers on it, simulated agents, a real one, and what lies between them."""

import asyncio
import contextlib
import random
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

from gpufleet_server.simulate.fleet import Fleet
from gpufleet_server.simulate.plan import fleet

from tests.chaos.proxy import Proxy
from tests.chaos.truth import Truth
from tests.e2e.stack import BIN, Server
from tests.nvml_sim.fixtures import environment
from tests.nvml_sim.scenario import Scenario, busy, h100_sxm
from tests.postgres import Postgres

# A small and honest one: every commit is on disk before it is answered.
SETTINGS = {"shared_buffers": "64MB", "max_wal_size": "256MB", "fsync": "on", "checkpoint_timeout": "30s"}
_RESTARTS = 5


class Stage:
    """Everything, started by `play` and taken down with it."""

    def __init__(self, folder: Path, chance: random.Random, *, gpus: int, backlog: float) -> None:
        self.folder, self.chance, self.truth = folder, chance, Truth()
        self._gpus, self._backlog = gpus, backlog
        self.postgres = Postgres(folder / "postgres", SETTINGS)
        self.to_database = Proxy([self.postgres.port], chance)
        self.servers: list[Server] = []
        self.to_server = Proxy([], chance)
        self.scenario = Scenario([busy(h100_sxm(index), index) for index in range(4)])
        self._file = self.scenario.write(folder / "driver")
        self._agent: subprocess.Popen[bytes] | None = None

    @property
    def database(self) -> str:
        """The database's own URL, past the proxy."""
        return self.postgres.url("fleet")

    @contextlib.asynccontextmanager
    async def play(self) -> AsyncIterator[Fleet]:
        """Start all; the simulated agents are yet to run. Everything is down afterwards."""
        try:
            yield await self._start()
        finally:
            await asyncio.to_thread(self._end)
            await self.to_server.stop()
            await self.to_database.stop()

    async def _start(self) -> Fleet:
        await asyncio.to_thread(self.postgres.start)
        self.postgres.create_database("fleet")
        await self.to_database.start()
        through = urlsplit(self.database)
        url = through._replace(netloc=through.netloc.replace(f":{self.postgres.port}", f":{self.to_database.port}"))
        for name in ("one", "two"):
            (self.folder / name).mkdir()
            self.servers.append(Server(self.folder / name, postgresql=url.geturl()))
            await self.start_server(self.servers[-1])
        self.to_server = Proxy([server.port for server in self.servers], self.chance, self.truth.saw)
        await self.to_server.start()
        self._token = await asyncio.to_thread(self.servers[0].token, "join")
        await asyncio.to_thread(self.start_agent)
        nodes = fleet(self.chance.randrange(1 << 30), self._gpus, time.time_ns() // 1000)
        steady = [node for node in nodes if not node.skew]
        # Some come with what they could not send before: hours that are sealed while all this goes on.
        return Fleet(
            steady,
            self.url,
            self._token,
            interval=1000,
            every=2000,
            offline=0.1,
            backlog=self._backlog,
            pauses=(0.2, 1.0),
        )

    @property
    def url(self) -> str:
        """Where agents report: the proxy, which goes on to one server or the other."""
        return f"http://127.0.0.1:{self.to_server.port}"

    async def start_server(self, server: Server) -> None:
        """Start a server, again and again where a cut kept it from starting, as its supervisor would."""
        for _ in range(_RESTARTS):
            try:
                await asyncio.to_thread(server.start)
            except AssertionError:
                self._kill_server(server)
            else:
                return
        raise AssertionError(f"a server does not start; see {server.folder / 'server.log'}")

    async def kill_server(self) -> None:
        """Kill one of the servers; the other one goes on."""
        server = self.chance.choice(self.servers)
        self._kill_server(server)
        await asyncio.sleep(self.chance.uniform(0, 0.5))
        await self.start_server(server)

    async def kill_database(self) -> None:
        """Crash PostgreSQL, and start it again after a while."""
        await asyncio.to_thread(self.postgres.kill)
        await asyncio.sleep(self.chance.uniform(0, 1.5))
        await asyncio.to_thread(self.postgres.start)

    async def kill_agent(self) -> None:
        """Kill the real agent, parent and reader, at about the time at which it learns of an XID."""
        self.scenario.gpus[0].xid(31, self.scenario.now())
        self.scenario.write(self._file)
        await asyncio.sleep(self.chance.uniform(0, 0.3))
        self._kill_agent()
        await asyncio.to_thread(self.start_agent)

    async def cut_agents(self) -> None:
        """Cut every connection between agents and servers."""
        self.to_server.cut()

    async def cut_database(self) -> None:
        """Cut every connection between servers and database."""
        self.to_database.cut()

    def start_agent(self) -> None:
        """Start the real agent."""
        command = [str(BIN / "gpufleet-agent"), "run", "--server", self.url, "--token", self._token]
        command += ["--state-dir", str(self.folder / "agent"), "--interval", "1s"]
        with (self.folder / "agent.log").open("ab") as log:
            self._agent = subprocess.Popen(
                command, env=environment(self._file), stdout=log, stderr=log, start_new_session=True
            )

    async def drain(self, agents: Fleet, seconds: float) -> None:
        """Wait until every agent has sent all it has. AssertionError where that takes too long."""
        try:
            async with asyncio.timeout(seconds):
                while agents.tally().waiting or self._spooled():
                    await agents.flush()
                    await asyncio.sleep(0.2)
        except TimeoutError:
            message = f"{agents.tally().waiting} reports and {self._spooled()} files still wait"
            raise AssertionError(message) from None

    async def end_agent(self) -> None:
        """End the real agent as an operator would; it sends what it has."""
        assert self._agent is not None
        self._agent.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(self._agent.wait, 30) == 0

    def _spooled(self) -> int:
        return len([*(self.folder / "agent" / "spool").glob("*.report")])

    def _kill_server(self, server: Server) -> None:
        if server.process is not None and server.process.poll() is None:
            server.kill(signal.SIGKILL)

    def _kill_agent(self) -> None:
        if self._agent is not None and self._agent.poll() is None:
            self._agent.kill()
            self._agent.wait(10)

    def _end(self) -> None:
        self._kill_agent()
        for server in self.servers:
            self._kill_server(server)
        self.postgres.remove()
