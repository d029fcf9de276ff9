"""A day without a server: what an agent's spool takes on disk, and how it drains into a real server, exactly once.

The agent's own code from the tick on (collector, journal, spool on a real disk, delivery) with clocks that run ahead:
a busy simulated node, every tick with who used its GPUs. When the server is there half of the day is drained, then the
server is killed and started again, then the agent. Every sample that was made is looked for in the store.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from unittest import mock

from gpufleet_agent.catalogue import BY_NAME
from gpufleet_agent.config import Config
from gpufleet_agent.runtime.collector import Collector
from gpufleet_agent.runtime.delivery import Backoff, Delivery
from gpufleet_agent.runtime.enrol import Enroller
from gpufleet_agent.runtime.frames import Rostered, Ticked
from gpufleet_agent.runtime.push import READ_SECONDS, Answer, Link
from gpufleet_agent.runtime.spool import Spool
from gpufleet_agent.usage.entries import Entry, Place, Used
from gpufleet_agent.wire import Driver, Holder, unpack
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.identity import roster
from gpufleet_server.simulate.plan import fleet_of
from gpufleet_server.simulate.reports import Reporter, Sampled, grid
from gpufleet_server.store.fold import fold
from rich.console import Console
from rich.table import Table

from tests.e2e.stack import Server, opened, server
from tests.server import stored

SECOND = 1_000_000
DAY = 86_400 * SECOND
# A job takes all GPUs of the node for so long.
_JOB = 7200 * SECOND
_MANY = 10_000


class Clocks:
    """The machine's clocks, `behind` by so many µs; it was started two days earlier than it was."""

    def __init__(self, behind: int) -> None:
        self.behind = behind
        self._time_ns, self._monotonic, self._uptime = time.time_ns, time.monotonic, time.clock_gettime_ns

    @contextmanager
    def believed(self) -> Iterator[None]:
        """Have the code under test read them."""
        with (
            mock.patch.object(time, "time_ns", lambda: self._time_ns() - self.behind * 1000),
            mock.patch.object(time, "monotonic", lambda: self._monotonic() - self.behind / 1e6),
            mock.patch.object(time, "clock_gettime_ns", self._since_boot),
            mock.patch.object(time, "clock_gettime", lambda clock: self._since_boot(clock) / 1e9),
        ):
            yield

    def _since_boot(self, clock: int) -> int:
        return self._uptime(clock) + (2 * DAY - self.behind) * 1000


class Node:
    """A busy node: what its driver would give, and who uses it."""

    def __init__(self, gpus: int, interval: int) -> None:
        """`interval` in µs."""
        (self._node,) = fleet_of(1, 1, gpus, 0, faults=False)
        self.id, self._interval = self._node.id, interval
        self._boards = Boards.of([self._node])
        self.roster = roster(self._node, 0)

    def ticks(self, begin: int, end: int) -> Iterator[Ticked]:
        """A tick each interval within (begin, end] µs."""
        reporter = Reporter(self._node, self._interval // 1000, begin)
        for since in range(begin, end, _JOB):
            until = min(since + _JOB, end)
            sampled = Sampled(self._boards, grid(since, until, self._interval // 1000), self._interval // 1000)
            (block,) = sampled.samples(0, reporter, since, until)
            for place, at in enumerate(unpack(block.times, 8)):
                yield self._tick(place, at, block.gpus, block.columns)

    def _tick(self, place: int, at: int, gpus: list[str], columns: dict[str, bytes]) -> Ticked:
        widths = {name: BY_NAME[name].width * len(gpus) for name in columns}
        row = {name: column[place * widths[name] :][: widths[name]] for name, column in columns.items()}
        return Ticked(at, self._interval // 1000, gpus, row, used=self._used(at, gpus))

    def _used(self, at: int, gpus: list[str]) -> Used:
        """A Slurm step on all GPUs, and a container that watches them."""
        job, whole = at // _JOB, self._interval // 1000
        step = Holder(kind="slurm", uid=4711, user="alice", job=str(job), step="0", account="physics", command="python")
        watcher = Holder(
            kind="container", uid=0, user="root", container="c0ffee" * 10, runtime="docker", command="dcgm"
        )
        entries = [
            entry
            for number in range(len(gpus))
            for entry in (
                Entry(number, 2 * job, whole, whole, 0, 60 << 20, 9000, 1),
                Entry(number, 1, whole, 0, 0, 300 << 10, 0, 1),
            )
        ]
        places: dict[int, Place] = {number: (gpu, None) for number, gpu in enumerate(gpus)}
        return Used(begin=at - self._interval, entries=entries, places=places, holders={2 * job: step, 1: watcher})


class Counting(Link):
    """A link that counts its requests."""

    requests = 0

    def post(self, path: str, body: bytes, headers: dict[str, str], limit: float = READ_SECONDS) -> Answer:
        """As ever."""
        self.requests += 1
        return super().post(path, body, headers, limit)


@dataclass
class Found:
    """What came of it. Sizes in bytes; `disk_bytes` with what the file system rounds up."""

    reports: int
    bytes_mean: float
    bytes_most: int
    spool_bytes: int
    disk_bytes: int
    dropped: int
    keep_ms: float
    requests: int
    drain_seconds: float
    samples: int
    lost: int
    doubled: int
    wrong: int
    gpu_hours_told: float
    gpu_hours_made: float

    @property
    def exactly_once(self) -> bool:
        """Whether all that was made is there, once, and as it was."""
        away = abs(self.gpu_hours_told - self.gpu_hours_made)
        return not (self.dropped or self.lost or self.doubled or self.wrong) and away < 1e-6 * self.gpu_hours_made


class Offline:
    """One agent and what it was told by its driver."""

    def __init__(self, state: Path, hours: float, gpus: int = 8, interval: float = 10.0) -> None:
        """`interval` in seconds."""
        self._state, self._interval = state, round(interval * SECOND)
        self._length = round(hours * 3600) * SECOND
        self.clocks = Clocks(self._length)
        self.node = Node(gpus, self._interval)
        self.made: list[Ticked] = []
        self.sizes: list[int] = []
        self.keep_ms = 0.0
        self.requests = 0
        with self.clocks.believed():
            self.spool = self._take_over()

    def keep(self) -> None:
        """Read and keep, for as long as there is no server."""
        began, used = self.clocks.behind, time.process_time()
        with self.clocks.believed():
            begin = time.time_ns() // 1000
            host = self.node.roster.host
            collector = Collector(self.node.id, lambda _: host, self._interval / SECOND, self.spool)
            collector.stand(Driver(state="ok", since=begin))
            collector.take(Rostered(self.node.roster.gpus))
            for tick in self.node.ticks(begin, begin + self._length):
                # The time that all this takes is a part of the interval.
                self.clocks.behind = min(began, self.clocks.behind + time.time_ns() // 1000 - tick.at)
                self.made.append(tick)
                collector.take(tick)
                collector.tend()
            collector.seal()
        self.clocks.behind = 0
        self.keep_ms = 1000 * (time.process_time() - used) / len(self.made)
        self.sizes = [entry.size for entry in self.spool.heads(_MANY * 10)]

    def drain(self, it: Server) -> float:
        """Send all of it, through a death of the server and one of the agent; how long that took without them, s."""
        token, waits, spent = it.token("join"), len(self.sizes), 0.0
        for left in (waits // 2, waits // 4, 0):
            spent += self._send(it.url, token, left)
            if left == waits // 2:
                it.kill()
                it.start()
            elif left:
                with self.clocks.believed():
                    self.spool = self._take_over()
        return spent

    def _send(self, url: str, token: str, left: int) -> float:
        with self.clocks.believed():
            link = Counting(url)
            enroller = Enroller(self._state, self.node.id, "offline", token)
            delivery, began = Delivery(link, self.spool, enroller, Backoff(0.05, 0.5)), time.monotonic()
            while self.spool.backlog.reports > left:
                time.sleep(max(0.0, min(delivery.due - time.monotonic(), 1.0)))
                delivery.step()
            delivery.close()
            self.requests += link.requests
            return time.monotonic() - began

    def _take_over(self) -> Spool:
        return Spool(self._state, self.node.id, Config().spool_size, Config().spool_age)


def run(folder: Path, it: Server, hours: float, gpus: int = 8, interval: float = 10.0) -> Found:
    """Keep so many hours, drain them, and look for them."""
    offline = Offline(folder / "agent", hours, gpus, interval)
    offline.keep()
    backlog, sizes = offline.spool.backlog, offline.sizes
    disk = sum(path.stat().st_blocks * 512 for path in (folder / "agent" / "spool").iterdir())
    seconds = offline.drain(it)
    lost, doubled, wrong = compared(it, offline.made)
    made = sum(entry.active + entry.held for tick in offline.made if tick.used for entry in tick.used.entries)
    return Found(
        reports=backlog.reports,
        bytes_mean=round(backlog.bytes / backlog.reports, 1),
        bytes_most=max(sizes),
        spool_bytes=backlog.bytes,
        disk_bytes=disk,
        dropped=offline.spool.backlog.dropped,
        keep_ms=round(offline.keep_ms, 2),
        requests=offline.requests,
        drain_seconds=round(seconds, 1),
        samples=sum(len(tick.gpus) for tick in offline.made),
        lost=lost,
        doubled=doubled,
        wrong=wrong,
        gpu_hours_told=told(it, offline.made),
        gpu_hours_made=made / 3.6e6,
    )


def compared(it: Server, made: list[Ticked]) -> tuple[int, int, int]:
    """How many samples are not in the store, are there twice, are there otherwise than they were made."""
    wanted = {
        (gpu, tick.at): {name: unpack(column, BY_NAME[name].width)[place] for name, column in tick.columns.items()}
        for tick in made
        for place, gpu in enumerate(tick.gpus)
    }
    with opened(it.database) as store:
        found = stored.every(store)
    wrong = sum(
        any(sample.stored.get(name) != value for name, value in wanted.get((sample.gpu, sample.ts), {"": 0}).items())
        for sample in found
    )
    there = {(sample.gpu, sample.ts) for sample in found}
    return len(wanted.keys() - there), len(found) - len(there), wrong


def told(it: Server, made: list[Ticked]) -> float:
    """The GPU-hours that the API tells of all holders of that time, once what came last is folded too."""
    with opened(it.database) as store:
        fold(store, time.time_ns() // 1000, all_=True)
    asked = {"by": "kind", "since": made[0].at / SECOND - 60, "until": made[-1].at / SECOND + 60}
    answer = it.get("/usage", it.token("reader"), **asked)
    return float(sum(group["gpu_seconds"] for group in answer["items"]) / 3600)


def show(found: Found, title: str) -> None:
    """The table for people."""
    table = Table("what", "", title=title)
    for name, value in asdict(found).items():
        table.add_row(name.replace("_", " "), f"{value:,}")
    Console().print(table)


def main() -> int:
    """Run, print the table, and one JSON object as the last line; 1 where something is not there exactly once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=24.0)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--interval", type=float, default=10.0, help="seconds between samples")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-") as folder, ExitStack() as stack:
        it = stack.enter_context(server(Path(folder)))
        found = run(Path(folder), it, args.hours, args.gpus, args.interval)
    show(found, f"{args.hours:g} h offline, {args.gpus} GPUs every {args.interval:g} s")
    bound = {"spool_size": Config().spool_size, "of_bound": round(found.spool_bytes / Config().spool_size, 3)}
    print(json.dumps({"bench": "offline", "hours": args.hours, "gpus": args.gpus, **bound, **asdict(found)}))
    return 0 if found.exactly_once else 1


if __name__ == "__main__":
    sys.exit(main())
