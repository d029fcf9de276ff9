"""gpufleet's server on a PostgreSQL of its own, as the benchmarks run it."""

import collections
import dataclasses
import json
import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import httpx
import msgspec
import numpy as np
from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, RESERVED
from gpufleet_server.store import partitions, seal
from gpufleet_server.store.blocks import Block, from_planes, from_recent
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate
from gpufleet_server.store.tiers import HOUR, SEALED, recent
from sqlalchemy import Connection, select, text

from tests.bench.fleet_load import FleetLoad
from tests.bench.processes import PROC, cpu_seconds_ever, pss_mb, running, tree
from tests.bench.sender import Sender, Told
from tests.e2e.stack import BIN, gpufleet, wait_for
from tests.ports import free_port
from tests.postgres import postgres

# For a machine of its own with some GB of memory. All that makes a commit safe is as it comes: on.
SETTINGS = {
    "shared_buffers": "512MB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    "autovacuum_naptime": "15s",
}
# Server processes on one database elect by this name the one that seals and rolls up.
_UPKEEP = "upkeep"
_SIZES = """
SELECT CASE WHEN relispartition THEN regexp_replace(relname, '_[0-9_]*$|_late$', '') ELSE relname END,
       sum(pg_total_relation_size(oid))
FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' GROUP BY 1 ORDER BY 1
"""


class Gpufleet:
    """A server process and its database, fed by agents' reports over HTTP."""

    name = "gpufleet"

    def __init__(self, folder: Path) -> None:
        """Start both, empty, below `folder`. NoPostgresError where PostgreSQL can't be had."""
        folder.mkdir(parents=True)
        self.port, self._folder = free_port(), folder
        self._spent = {"server": 0.0, "postgres": 0.0}
        with ExitStack() as ends:
            self._postgres = ends.enter_context(postgres(folder / "postgres", SETTINGS))
            self.database = self._postgres.create_database("gpufleet")
            self._store = ends.enter_context(closing(Store.open(self.database)))
            # The hours that are fed are over: they are kept from being sealed again and again while they come in.
            self._upkeep = ends.enter_context(closing(self._store.election(_UPKEEP)))
            migrate(self._store)
            assert self._upkeep.won()
            self._process = ends.enter_context(running(self._command(), dict(os.environ), folder / "server.log"))
            wait_for("the server", self._ready, 60)
            self._ends = ends.pop_all()

    def version(self) -> str:
        """Of gpufleet and PostgreSQL, and how that is set."""
        said = ", ".join(f"{name} = {value}" for name, value in SETTINGS.items())
        return f"{gpufleet('--version').strip()} on {self._postgres.version()}; {said}"

    def prepare(self, load: FleetLoad) -> None:
        """Enrol the nodes and make what is there in live operation: partitions of the hours that will be reported."""
        hours = np.unique((load.times - 1) // HOUR * HOUR)
        self._hours_end = set((hours + HOUR).tolist())
        with self._store.writing() as connection:
            for cut in partitions.CUTS:
                for at in hours.tolist():
                    partitions.make(connection, cut, at)
        self._credentials = dict(self._enrolled(load))
        self._spent = {"server": self._server_cpu(), "postgres": self._postgres.cpu_seconds()}
        self._wal = self._scalar("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')")

    def send(self, load: FleetLoad, in_flight: int = 64) -> Told:
        """Send every report of the load; all of them are committed once this returns."""
        with closing(Sender(self.port, wire.REPORT_PATH, in_flight)) as sender:
            return sender.send(self._requests(load))

    def settle(self) -> dict[str, object]:
        """Have the server seal every hour and make the rollups, and PostgreSQL write all to its files."""
        fed = self.cpu_by_part()
        self._upkeep.close()
        wait_for("sealed hours and rollups", self._at_rest, 900)
        with self._store.writing() as connection:
            connection.execute(text("CHECKPOINT"))
        written = self._scalar("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')") - self._wal
        return {"cpu_before_sealing": fed, "cpu": self.cpu_by_part(), "wal_bytes": written, "bytes": self.sizes()}

    def held(self, load: FleetLoad) -> dict[str, int]:
        """Metric → how many values the store holds."""
        counts: collections.Counter[str] = collections.Counter()
        with self._store.reading() as connection:
            for block in _blocks(connection):
                there = block.durations > 0
                for name, values in block.columns.items():
                    counts[name] += int((there & (values >= BY_NAME[name].lowest + RESERVED)).sum())
        return {name: counts[name] for name in load.counts()}

    def cpu_seconds(self) -> float:
        """CPU time of server and PostgreSQL since `prepare`."""
        return sum(self.cpu_by_part().values())

    def cpu_by_part(self) -> dict[str, float]:
        """The same, by part."""
        now = {"server": self._server_cpu(), "postgres": self._postgres.cpu_seconds()}
        return {part: round(spent - self._spent[part], 2) for part, spent in now.items()}

    def rss_mb(self) -> float:
        """Memory of server and PostgreSQL, MB."""
        return pss_mb(tree(self._process.pid)) + self._postgres.rss_mb()

    def sizes(self) -> dict[str, int]:
        """Table → bytes with its partitions, indexes and TOAST."""
        with self._store.reading() as connection:
            return {name: int(size) for name, size in connection.execute(text(_SIZES))}

    def disk_bytes(self) -> int:
        """Bytes of all its tables."""
        return sum(self.sizes().values())

    def profile(self, output: Path) -> None:
        """Have py-spy watch the server from now until it is stopped."""
        command = [str(BIN / "py-spy"), "record", "--threads", "--rate", "200", "--format", "raw", "--nonblocking"]
        command += ["--pid", str(self._process.pid), "--output", str(output)]
        self._ends.enter_context(running(command, dict(os.environ), self._folder / "profiler.log", signal.SIGINT))

    def postgres_processes(self) -> dict[str, float]:
        """What PostgreSQL's processes that live now say they are → CPU seconds."""
        spent: dict[str, float] = collections.defaultdict(float)
        for pid in self._postgres.pids():
            title = (PROC / str(pid) / "cmdline").read_bytes().split(b"\0")[0].decode(errors="replace")
            kind = title.removeprefix("postgres: ").partition(" 127.0.0.1")[0]
            spent[kind if "/" not in kind else "postmaster and ended processes"] += cpu_seconds_ever([pid])
        return {kind: round(seconds, 2) for kind, seconds in spent.items() if seconds >= 0.05}

    def stop(self) -> None:
        """End both."""
        self._ends.close()

    def _command(self) -> list[str]:
        listen = ["--listen", f"127.0.0.1:{self.port}", "--log-level", "warning"]
        return [str(BIN / "gpufleet"), "serve", "--database", self.database, *listen]

    def _at_rest(self) -> bool:
        # Days are rolled up when they are over.
        hours_due = self._scalar("SELECT count(*) FROM due WHERE kind = 'hour'")
        with self._store.reading() as connection:
            emptied = [each for each in partitions.listing(connection, recent) if each.end in self._hours_end]
        return not hours_due and not emptied and seal.oldest_unsealed(self._store) is None

    def _ready(self) -> bool:
        if self._process.poll() is not None:
            raise RuntimeError(f"the server ended:\n{(self._folder / 'server.log').read_text()[-2000:]}")
        try:
            return httpx.get(f"http://127.0.0.1:{self.port}/readyz", timeout=2).status_code == 200
        except httpx.TransportError:
            return False

    def _enrolled(self, load: FleetLoad) -> Iterator[tuple[int, str]]:
        command = ["token", "create", "--kind", "join", "--name", "bench", "--database", self.database, "--json"]
        join = {"authorization": f"Bearer {json.loads(gpufleet(*command))['token']}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{self.port}", headers=join, timeout=30) as client:
            for number, each in enumerate(load.nodes):
                ask = {"version": wire.PROTOCOL, "node": each.node.id, "hostname": each.node.hostname}
                answer = client.post(wire.ENROL_PATH, json=ask | {"agent_version": "bench"}).raise_for_status()
                yield number, msgspec.json.decode(answer.content, type=wire.Credential).credential

    def _requests(self, load: FleetLoad) -> Iterator[tuple[int, dict[str, str], bytes]]:
        common = {"content-type": wire.CONTENT_TYPE, "content-encoding": wire.ENCODING}
        headers = {n: common | {"authorization": f"Bearer {held}"} for n, held in self._credentials.items()}
        for number, some in enumerate(load.rounds):
            # A round of all nodes is encoded before the first of it is sent.
            bodies = [wire.encode(each.report(number, some, load.interval)) for each in load.nodes]
            yield from ((node, headers[node], body) for node, body in enumerate(bodies))

    def _server_cpu(self) -> float:
        return cpu_seconds_ever(tree(self._process.pid))

    def _scalar(self, query: str) -> int:
        with self._store.reading() as connection:
            return int(connection.execute(text(query)).scalar_one())


def _blocks(connection: Connection) -> Iterator[Block]:
    names = tuple(metric.name for metric in EVERY_SAMPLE)
    for table, read in ((recent, from_recent), (SEALED.table, _sealed)):
        rows = connection.execution_options(yield_per=100).execute(select(table)).mappings()
        yield from (read(dict(row), names) for row in rows)


def _sealed(row: dict[str, object], names: tuple[str, ...]) -> Block:
    return from_planes(row, SEALED, names)


def told(it: object) -> str:
    """A dataclass in one line."""
    assert dataclasses.is_dataclass(it)
    assert not isinstance(it, type)
    return ", ".join(f"{name} {value:,.6g}" for name, value in dataclasses.asdict(it).items())
