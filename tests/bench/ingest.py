"""One fleet into gpufleet, VictoriaMetrics and Prometheus: CPU for each value, memory, disk once sealed or merged.

Every node sends its own samples over a kept-alive connection, a request each interval, or each 10 s where that is
longer; `relay` is what a relay between nodes and database makes of that: many nodes in one request. All time stamps
are of hours that are over, sent as fast as they are taken. CPU is that of all processes of the system under test, from
the first report until all is committed and sealed (gpufleet), merged (VictoriaMetrics), or written as a block
(Prometheus). What it takes the sender to encode is not in it and is shown beside it. Values are those that are there:
absent ones count for nothing.
"""

import argparse
import json
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.table import Table

from tests.bench.fleet_load import FleetLoad, fleet_load, peer_name
from tests.bench.gpufleet import Gpufleet, told
from tests.bench.peers import remote_write
from tests.bench.peers.peer import Peer, Prometheus, VictoriaMetrics
from tests.bench.processes import Peak
from tests.bench.profiles import hottest
from tests.bench.sender import Sender, Told

# Samples in one request of a relay, as vmagent has it.
RELAYED = 10_000
PEERS = {cls.name: cls for cls in (VictoriaMetrics, Prometheus)}


class System(Protocol):
    """What is fed and measured."""

    def send(self, load: FleetLoad, in_flight: int) -> Told:
        """Feed it all of the load."""

    def settle(self) -> dict[str, object]:
        """Have it bring what it has into the form that it keeps; what was seen."""

    def cpu_seconds(self) -> float:
        """CPU time of all its processes."""

    def rss_mb(self) -> float:
        """Memory of all its processes, MB."""

    def disk_bytes(self) -> int:
        """Bytes that its data take."""

    def held(self, load: FleetLoad) -> dict[str, int]:
        """Metric → how many values it says it holds."""


@dataclass
class Fed:
    """A peer with the way in which it is fed: `relayed` nodes in one request."""

    peer: Peer
    relayed: int = 1

    def send(self, load: FleetLoad, in_flight: int) -> Told:
        """Feed it all of the load."""
        sender = Sender(self.peer.port, remote_write.PATH, in_flight)
        try:
            return sender.send(_requests(load, self.relayed))
        finally:
            sender.close()

    def settle(self) -> dict[str, object]:
        """Merge, or write blocks."""
        return self.peer.settle()

    def cpu_seconds(self) -> float:
        """CPU time."""
        return self.peer.cpu_seconds()

    def rss_mb(self) -> float:
        """Memory."""
        return self.peer.rss_mb()

    def disk_bytes(self) -> int:
        """Bytes of its data."""
        return self.peer.disk_bytes()

    def held(self, load: FleetLoad) -> dict[str, int]:
        """Metric → how many values it says it holds."""
        seconds = len(load.times) * load.interval + 60
        return {name: self.peer.count(peer_name(name), load.end, seconds) for name in load.counts()}


@dataclass
class Result:
    """What was measured of one system; the first three are what it is held to."""

    cpu_us_per_value: float
    bytes_per_value: float
    peak_rss_mb: float
    feed_cpu_us_per_value: float
    seconds: float
    requests: int
    request_bytes_per_value: float
    encoding_us_per_value: float
    seen: dict[str, object] = field(default_factory=dict)


class LostError(Exception):
    """A system does not hold what it was sent."""


def measure(system: System, load: FleetLoad, counts: Mapping[str, int], in_flight: int) -> Result:
    """Feed a system and measure it. LostError where it does not hold every value."""
    values, before = sum(counts.values()), system.cpu_seconds()
    with Peak(system.rss_mb) as peak:
        sent = system.send(load, in_flight)
        fed = system.cpu_seconds() - before
        _say(f"fed: {told(sent)}, CPU {fed:.2f} s")
        begin = time.monotonic()
        seen = system.settle()
        cpu = system.cpu_seconds() - before
        _say(f"settled in {time.monotonic() - begin:.1f} s, CPU {cpu:.2f} s: {json.dumps(seen)}")
    size = system.disk_bytes()
    wrong = {name: held for name, held in system.held(load).items() if held != counts[name]}
    if wrong:
        raise LostError(f"{sum(counts[name] for name in wrong)} values of {', '.join(wrong)} were sent; held: {wrong}")
    return Result(
        cpu_us_per_value=round(1e6 * cpu / values, 4),
        bytes_per_value=round(size / values, 4),
        peak_rss_mb=round(peak.mb, 1),
        feed_cpu_us_per_value=round(1e6 * fed / values, 4),
        seconds=round(sent.seconds, 1),
        requests=sent.requests,
        request_bytes_per_value=round(sent.body_bytes / values, 3),
        encoding_us_per_value=round(1e6 * sent.encoding_cpu / values, 4),
        seen=seen,
    )


def run_gpufleet(args: argparse.Namespace, folder: Path, load: FleetLoad, counts: Mapping[str, int]) -> Result:
    """gpufleet's result."""
    system = Gpufleet(folder)
    try:
        _say(system.version())
        system.prepare(load)
        if args.profile is not None:
            system.profile(args.profile)
        result = measure(system, load, counts, args.in_flight)
        _say(f"CPU s of PostgreSQL's processes: {json.dumps(system.postgres_processes())}")
        return result
    finally:
        system.stop()


def run_peer(peer: Peer, relayed: int, load: FleetLoad, counts: Mapping[str, int], in_flight: int) -> Result:
    """A peer's result, with the samples of `relayed` nodes in each request."""
    try:
        _say(peer.version())
        return measure(Fed(peer, relayed), load, counts, in_flight)
    finally:
        peer.stop()


def _requests(load: FleetLoad, relayed: int) -> Iterator[tuple[int, Mapping[str, str], bytes]]:
    count = len(load.times)
    encoders = [remote_write.NodeEncoder(each.series()) for each in load.nodes]
    values = [each.values().reshape(-1, count) for each in load.nodes]
    present = [each.present().reshape(-1, count) for each in load.nodes]
    groups = [range(first, min(first + relayed, len(encoders))) for first in range(0, len(encoders), relayed)]
    for some in load.rounds:
        at = load.times[some] // 1000
        for group, nodes in enumerate(groups):
            messages = [encoders[n].message(at, values[n][:, some], present[n][:, some]) for n in nodes]
            yield group, remote_write.HEADERS, remote_write.body(messages)


def show(results: Mapping[str, Result], load: FleetLoad, values: int) -> None:
    """The table for people."""
    hours = len(load.times) * load.interval / 3600
    fleet = f"{load.gpus} GPUs, {len(load.nodes)} nodes, {hours:g} h at {load.interval} s: {values:,} values"
    table = Table("", *(name.replace("_", " by ") for name in results), title=fleet)
    for row in fields(Result):
        if row.name != "seen":
            table.add_row(row.name.replace("_", " "), *(f"{getattr(each, row.name):,}" for each in results.values()))
    Console().print(table)
    ours, theirs = results["gpufleet"], results.get(VictoriaMetrics.name)
    if theirs is not None:
        cpu, size = ours.cpu_us_per_value / theirs.cpu_us_per_value, ours.bytes_per_value / theirs.bytes_per_value
        print(f"Of VictoriaMetrics' CPU gpufleet takes {cpu:.2f} (budget 0.10), of its bytes {size:.2f} (budget 1.00).")


def run(args: argparse.Namespace, folder: Path, load: FleetLoad, counts: Mapping[str, int]) -> dict[str, Result]:
    """The results of all systems that are there, one after the other."""
    results = {"gpufleet": run_gpufleet(args, folder / "gpufleet", load, counts)}
    values_at_once = sum(counts.values()) // (len(load.nodes) * len(load.rounds))
    ways = {"": 1} if args.no_relay else {"": 1, "_relay": max(1, RELAYED // values_at_once)}
    for name in args.peers:
        for way, relayed in ways.items():
            try:
                peer = PEERS[name](folder / (name + way))
                results[name + way] = run_peer(peer, relayed, load, counts, args.in_flight)
            except FileNotFoundError as error:
                _say(f"LEFT OUT: {name}{way}: {error}")
    return results


def main() -> None:
    """Run, print the table, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=2000)
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--interval", type=int, default=10, help="seconds between samples")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="what to measure beside it")
    parser.add_argument("--no-relay", action="store_true", help="leave out the peers fed by a relay")
    parser.add_argument("--profile", type=Path, help="where py-spy writes the stacks of gpufleet's server")
    parser.add_argument("--folder", type=Path, help="on which disk the data lie while it runs")
    parser.add_argument("--in-flight", type=int, default=64, help="requests that wait for their answers at once")
    args = parser.parse_args()
    # What was started ends with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    begin = time.monotonic()
    load = fleet_load(args.gpus, args.hours, args.interval, time.time())
    counts = load.counts()
    values = sum(counts.values())
    _say(f"{load.gpus} GPUs, {values:,} values, made in {time.monotonic() - begin:.1f} s")
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-", dir=args.folder) as folder:
        # PostgreSQL's account, where that is another one, must get in.
        Path(folder).chmod(0o755)
        results = run(args, Path(folder), load, counts)
    show(results, load, values)
    if args.profile is not None and args.profile.exists():
        Console(width=150).print(hottest(args.profile))
    by_name = {name: asdict(result) for name, result in results.items()}
    print(json.dumps({"bench": "ingest", "gpus": load.gpus, "values": values} | by_name))


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
