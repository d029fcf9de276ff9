"""Nodes that report, a server to report to, and a look into its store."""

import contextlib
import dataclasses
import itertools
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import anyio
import httpx
from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE
from gpufleet_server.app import create_app
from gpufleet_server.domain.tokens import TokenKind
from gpufleet_server.ingest.statistics import Statistics
from gpufleet_server.store import tokens
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate
from sqlalchemy import text

from tests.server import stored

SECOND = 1_000_000
DAY = 86_400 * SECOND
NOW = 1_790_000_000 * SECOND
BOOT = "5ee1b3a5-0000-4000-8000-000000000001"


@dataclasses.dataclass
class Time:
    """A clock that stands until it is moved, µs."""

    at: int = NOW

    def __call__(self) -> int:
        return self.at


@dataclasses.dataclass
class Agent:
    """What one node would send. `fast` is by how much its wall clock is ahead of the server's, µs."""

    time: Time
    node: str = "00000000-0000-4000-8000-00000000000a"
    gpus: tuple[str, ...] = ("GPU-a", "GPU-b")
    fast: int = 0
    stream: str = "00000000-0000-4000-8000-0000000000aa"
    credential: str = ""
    seq: Iterator[int] = dataclasses.field(default_factory=lambda: itertools.count(1))

    def clock(self) -> wire.Clock:
        """Its clocks now."""
        return wire.Clock(wall=self.time() + self.fast, uptime=self.time() - NOW + 3600 * SECOND, boot=BOOT)

    def samples(self, times: Sequence[int], **columns: Sequence[int]) -> wire.Samples:
        """A block at these times of its own clock; metrics that are not named count up from 1."""
        count = len(times) * len(self.gpus)
        plain = {metric.name: [1 + n for n in range(count)] for metric in EVERY_SAMPLE}
        packed = {name: wire.pack(values, BY_NAME[name].width) for name, values in {**plain, **columns}.items()}
        durations = wire.pack([1000] * len(times), 4)
        return wire.Samples(gpus=list(self.gpus), times=wire.pack(times, 8), durations=durations, columns=packed)

    def roster(self, host: dict[str, Any] | None = None, **gpu: Any) -> wire.Roster:
        """Its roster, with these host and GPU fields beside the least there can be."""
        facts = {"hostname": "alpha", "agent_version": "0.1.0", "driver_version": "570.1", **(host or {})}
        identity = {"vendor": "NVIDIA", "model": "H100", **gpu}
        listed = [wire.Gpu(uuid=name, index=i, serial=f"S-{name}", **identity) for i, name in enumerate(self.gpus)]
        return wire.Roster(host=wire.Host(**facts), gpus=listed)

    def report(self, *, roster: wire.Roster | None = None, **fields: Any) -> wire.Report:
        """The next report: one sample now, unless `samples` says otherwise."""
        wall = self.clock().wall
        given: dict[str, Any] = {
            "version": wire.PROTOCOL,
            "node": self.node,
            "stream": self.stream,
            "seq": next(self.seq),
            "created": self.clock(),
            "interval": 1000,
            "driver": wire.Driver(state="ok", since=wall - 60 * SECOND),
            "samples": [self.samples([wall])],
            "roster": roster,
            "roster_digest": wire.digest(roster) if roster else "",
        }
        return wire.Report(**{**given, **fields})


@dataclasses.dataclass
class Server:
    """A server in this process, spoken to by real requests."""

    client: httpx.AsyncClient
    store: Store
    time: Time
    app: Any

    async def send(self, agent: Agent, report: wire.Report, **headers: str) -> httpx.Response:
        """Send a report with the clock header that goes with it."""
        return await self.send_bytes(agent, wire.encode(report), **headers)

    async def send_bytes(self, agent: Agent, body: bytes, **headers: str) -> httpx.Response:
        """Send a body as the report of an agent. Headers are named with `_` for `-`; an empty one is left out."""
        usual = {
            "authorization": f"Bearer {agent.credential}",
            "content-type": wire.CONTENT_TYPE,
            "content-encoding": wire.ENCODING,
            wire.CLOCK_HEADER: wire.clock_header(agent.clock()),
        }
        given = usual | {name.replace("_", "-"): value for name, value in headers.items()}
        kept = {name: value for name, value in given.items() if value}
        return await self.client.post(wire.REPORT_PATH, content=body, headers=kept)

    def agent(self, **fields: Any) -> Agent:
        """A node with a credential."""
        agent = Agent(self.time, **fields)
        agent.credential = self.token(TokenKind.NODE, node=agent.node)
        return agent

    def token(self, kind: TokenKind, node: str | None = None) -> str:
        """A fresh token."""
        with self.store.writing() as connection:
            return tokens.create(connection, kind, "enrolled-name", node=node, now=self.time())[1]

    @property
    def statistics(self) -> Statistics:
        """What the ingest counts."""
        statistics: Statistics = self.app.state.statistics
        return statistics

    def rows(self, statement: str) -> list[Any]:
        """What a select gives; JSON as the engine's driver gives it."""
        with self.store.reading() as connection:
            return list(connection.execute(text(statement)))

    def counts(self) -> dict[str, int]:
        """The number of rows of each table that a report can add to, and of samples."""
        tables = ("nodes", "streams", "gpus", "partitions", "states", "events", "latest", "fleet_minutes")
        rows = {table: self.rows(f"SELECT count(*) FROM {table}")[0][0] for table in tables}
        return rows | {"samples": stored.count(self.store)}

    @staticmethod
    def json(value: Any) -> Any:
        """What a column of JSON holds, which SQLite's driver gives as text."""
        return json.loads(value) if isinstance(value, str) else value

    def column(self, metric: str) -> list[int | None]:
        """A metric of every sample, by node, GPU and time."""
        return stored.column(self.store, metric)

    def times(self) -> list[int]:
        """When samples ended, each time once."""
        return sorted({sample.ts for sample in stored.every(self.store)})


@contextlib.asynccontextmanager
async def serving(store: Store, time: Time, **options: Any) -> AsyncIterator[Server]:
    """The server on a store, started and stopped as an ASGI server would."""
    app = create_app(store, now=time, **options)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://server") as client,
    ):
        yield Server(client, store, time, app)


@contextlib.contextmanager
def opened(folder: Path) -> Iterator[Store]:
    """A migrated SQLite store in a folder."""
    with contextlib.closing(Store.open(f"sqlite:///{folder}/fleet.db")) as store:
        migrate(store)
        yield store


def run(
    where: Store | Path, story: Callable[[Server], Awaitable[None]], time: Time | None = None, **options: Any
) -> None:
    """Run a story on a server of this store, or of one in a folder."""

    async def main() -> None:
        with opened(where) if isinstance(where, Path) else contextlib.nullcontext(where) as store:
            async with serving(store, time or Time(), **options) as server:
                await story(server)

    anyio.run(main)


def fresh_id() -> str:
    """A node or stream id that nobody has."""
    return str(uuid.uuid4())


async def until(condition: Callable[[], bool]) -> None:
    """Wait until something holds; TimeoutError after 10 s."""
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(0.01)
