"""How long Grafana's boards take over a large fleet: 100,000 GPUs and 30 days, as the reader role.

The store is filled as for bench-queries, with alerts and with who used the GPUs, and analysed. What a board asks is
read from its rendered JSON and expanded as Grafana does it: each time with other sites, models, nodes, GPUs and
moments. Each statement goes alone over one connection, in PostgreSQL's simple protocol as from Grafana (`ms`); then the
whole board: its variables one after another, then all panels and annotations at once over as many connections as our
data source is allowed (`board`). What is measured is until the last row is here. After that EXPLAIN says which tables
were read: over wide ranges none may be of raw samples. The first asking of each does not count.
"""

import argparse
import json
import random
import secrets
import signal
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gpufleet_dashboards.discovery import every_board
from gpufleet_dashboards.provision import Source, settings
from gpufleet_dashboards.render import document
from gpufleet_server.store.engine import Store
from gpufleet_server.store.gpu_counts import count_gpus
from gpufleet_server.store.reader import Reader, grant
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from tests.bench.board_asking import Answered, Pool
from tests.bench.board_queries import BoardQueries, chosen, of_board, statement
from tests.bench.queries import SETTINGS, Times, fill
from tests.bench.query_alerts import add_alerts
from tests.bench.query_fleet import MINUTE, QueryFleet, Scope
from tests.bench.query_servers import add_servers
from tests.bench.usage_fill import add_usage
from tests.dashboards.grafana_sql.front import Range, Variable
from tests.postgres import postgres

PANEL_MS, BOARD_S = 100.0, 1.0
HOUR_MS = 3_600_000
RANGES = {"1 h": HOUR_MS, "24 h": 24 * HOUR_MS, "30 d": 720 * HOUR_MS}
WIDE = ("24 h", "30 d")
RAW = ("recent", "sealed")
# As the provisioned data source has it; and the role that it comes as.
CONNECTIONS: int = settings(Source("", "", "", ""))["jsonData"]["maxOpenConns"]
READER = "gpufleet_bench_reader"


@dataclass
class Measured:
    """Of a board: askings of each statement, by whose it is and range; seconds of all of it; raw tables read."""

    title: str
    single: dict[tuple[str, str], list[Answered]] = field(default_factory=lambda: defaultdict(list))
    whole: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    raw: dict[tuple[str, str], int] = field(default_factory=dict)

    def times(self, owner: str, length: str) -> Times:
        """Of one statement over one range."""
        return Times.of([each.seconds for each in self.single[owner, length]])

    def cpu_ms(self, owner: str, length: str) -> float:
        """The median CPU of PostgreSQL for it: what stays the same while others fill the machine."""
        return Times.of([each.cpu for each in self.single[owner, length]]).p50_ms

    @property
    def owners(self) -> list[str]:
        """Whose statements there are, the slowest first."""
        known = dict.fromkeys(owner for owner, _ in self.single)
        return sorted(known, key=lambda owner: -max(self.times(owner, length).p95_ms for length in RANGES))

    def board_s(self, length: str) -> float:
        """How long the whole board takes: the 95th percentile."""
        return Times.of(self.whole[length]).p95_ms / 1000


@dataclass(frozen=True)
class Draw:
    """One asking: where the range ends, and what chooses from the menus."""

    number: int
    end_ms: int

    def range(self, length: str) -> Range:
        """The range of a length of RANGES."""
        return Range(self.end_ms - RANGES[length], self.end_ms)

    def chance(self, board: BoardQueries, length: str) -> random.Random:
        """The same for the same asking, whatever was asked before."""
        return random.Random(f"{board.uid} {length} {self.number}")


class Bench:
    """Asks boards; `liked` are the nodes that have samples of their own, and their GPUs."""

    def __init__(self, pool: Pool, end_ms: int, liked: frozenset[str], repeat: int) -> None:
        self._pool, self._liked, self._repeat = pool, liked, repeat
        # No two look at the same second, as people don't; the newest minutes are part of each.
        self._draws = [Draw(number, end_ms - 17_000 * number) for number in range(2 * repeat + 2)]

    def measure(self, board: BoardQueries) -> Measured:
        """Everything that a board asks, over all ranges."""
        found = Measured(board.title)
        for length in RANGES:
            for draw in self._draws[: self._repeat + 1]:
                for owner, answered in self._one_by_one(board, draw, length):
                    found.single[owner, length].append(answered)
            for draw in self._draws[self._repeat + 1 :]:
                found.whole[length].append(self._whole(board, draw, length))
            if length in WIDE:
                found.raw |= {(owner, length): rows for owner, rows in self._raw(board, self._draws[0], length)}
        for askings in found.single.values():
            del askings[0]
        for seconds in found.whole.values():
            del seconds[0]
        return found

    def _one_by_one(self, board: BoardQueries, draw: Draw, length: str) -> Iterator[tuple[str, Answered]]:
        range_, values = draw.range(length), self._chosen(board, draw, length)
        for number, menu in enumerate(board.menus):
            yield menu.query.owner, self._pool.timed(statement(menu.query, range_, values[:number]))
        for each in board.statements:
            yield each.owner, self._pool.timed(statement(each, range_, values))

    def _whole(self, board: BoardQueries, draw: Draw, length: str) -> float:
        range_, values = draw.range(length), self._chosen(board, draw, length)
        menus = [statement(menu.query, range_, values[:number]) for number, menu in enumerate(board.menus)]
        rest = [statement(each, range_, values) for each in board.statements]
        return sum(self._pool.timed(sql).seconds for sql in menus) + self._pool.at_once(rest)

    def _raw(self, board: BoardQueries, draw: Draw, length: str) -> Iterator[tuple[str, int]]:
        range_, values = draw.range(length), self._chosen(board, draw, length)
        for each in board.statements:
            read = self._pool.tables(statement(each, range_, values))
            if rows := sum(count for name, count in read.items() if name.split("_")[0] in RAW):
                yield each.owner, rows

    def _chosen(self, board: BoardQueries, draw: Draw, length: str) -> list[Variable]:
        return chosen(board, draw.range(length), self._pool.rows, draw.chance(board, length), self._liked)


# --- the store -----------------------------------------------------------------------------------------------------


@contextmanager
def filled(args: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The URL of a store that holds the fleet, while the block runs."""
    with postgres(folder / "postgres", SETTINGS) as database:
        say(f"{database.version()}; {', '.join(f'{name} = {value}' for name, value in SETTINGS.items())}")
        url = database.create_database("gpufleet")
        now = int(time.time()) * 1_000_000 // MINUTE * MINUTE
        of = QueryFleet(Scope(args.gpus, now, args.days, args.days, args.watched, args.templates))
        with closing(Store.open(url)) as store:
            fill(store, of, database)
            count_gpus(store, now)
            with store.writing() as connection:
                add_alerts(connection, of)
                add_servers(connection, args.gpus, now, args.days)
            add_usage(store, now, args.days, [number + 1 for number in of.watched], say)
            _analyse(store)
        yield url


def _analyse(store: Store) -> None:
    """What was added after all else was analysed."""
    with store.writing() as connection:
        for table in _LATER:
            connection.execute(text(f"ANALYZE {table}"))


_LATER = (
    *("alerts", "alert_log", "rule_runs", "server_minutes", "owners", "holders", "usage", "usage_fleet"),
    *("usage_fleet_hours", "usage_waste_days", "usage_waste_hours", "usage_kind_days"),
    *("usage_kind_hours", "usage_six_hours", "usage_weeks", "gpu_counts"),
)


@dataclass(frozen=True)
class Known:
    """What is in a filled store: how many GPUs, its newest minute (ms), and who has samples of their own."""

    gpus: int
    end_ms: int
    liked: frozenset[str]


_WATCHED = text(
    "SELECT nodes.uuid, gpus.uuid FROM nodes JOIN gpus USING (node_id) WHERE node_id IN "
    "(SELECT node_id FROM sealed WHERE span = (SELECT max(span) FROM sealed) AND points > 100)"
)


def known(url: str) -> Known:
    """Look into a store."""
    with closing(Store.open(url)) as store, store.reading() as connection:
        gpus = connection.execute(text("SELECT count(*) FROM gpus")).scalar_one()
        newest = connection.execute(text("SELECT max(ts) FROM fleet_minutes")).scalar_one()
        liked = {name for row in connection.execute(_WATCHED) for name in row}
    return Known(gpus, newest // 1000, frozenset(liked))


def as_reader(url: str) -> str:
    """The URL by which Grafana would come: the role is made, with a password of now."""
    password = secrets.token_hex(8)
    with closing(Store.open(url)) as store:
        grant(store, Reader(READER), password)
    place = urlsplit(url)
    return place._replace(netloc=f"{READER}:{password}@{place.netloc.rpartition('@')[2]}").geturl()


# --- what is told --------------------------------------------------------------------------------------------------


def show(found: Mapping[str, Measured], gpus: int) -> None:
    """The table for people."""
    table = Table(
        "board", "slowest panel", *(f"its p50 / p95, ms, {length}" for length in RANGES),
        *(f"board, s, {length}" for length in RANGES), title=f"{gpus:,} GPUs; p95 of a board's time",
    )  # fmt: skip
    for each in found.values():
        worst = each.owners[0]
        pairs = (each.times(worst, length) for length in RANGES)
        whole = (f"{each.board_s(length):.2f}" for length in RANGES)
        table.add_row(each.title, worst, *(f"{pair.p50_ms:,.1f} / {pair.p95_ms:,.1f}" for pair in pairs), *whole)
    Console(width=170 if not sys.stdout.isatty() else None).print(table)


def missed(found: Mapping[str, Measured]) -> Iterator[str]:
    """What is over the budget, a line each: the slowest first within a board."""
    for uid, each in found.items():
        for owner in each.owners:
            slow = {length: each.times(owner, length).p95_ms for length in RANGES}
            if max(slow.values()) > PANEL_MS:
                told = ", ".join(f"{ms:,.0f} ms {length}" for length, ms in slow.items())
                cpu = ", ".join(f"{each.cpu_ms(owner, length):,.0f}" for length in RANGES)
                yield f"NOT MET {uid}: {owner}: p95 {told}; median CPU {cpu} ms"
        for length in RANGES:
            if each.board_s(length) > BOARD_S:
                yield f"NOT MET {uid}: the whole board, {length}: {each.board_s(length):.2f} s"
        for (owner, length), rows in each.raw.items():
            yield f"RAW {uid}: {owner}, {length}: {rows:,} rows of samples are read"


def result(found: Mapping[str, Measured], gpus: int) -> dict[str, Any]:
    """The last line."""
    worst = {
        uid: max(each.times(owner, length).p95_ms for owner in each.owners for length in RANGES)
        for uid, each in found.items()
    }
    cpu = {
        uid: max(each.cpu_ms(owner, length) for owner in each.owners for length in RANGES)
        for uid, each in found.items()
    }
    whole = {uid: max(round(each.board_s(length), 3) for length in RANGES) for uid, each in found.items()}
    return {
        "bench": "dashboards",
        "gpus": gpus,
        "worst_panel_p95_ms": max(worst.values()),
        "worst_board_s": max(whole.values()),
        "panels_p95_ms": worst,
        "panels_cpu_ms": cpu,
        "boards_s": whole,
        "raw": sorted(f"{uid}: {owner}, {length}" for uid, each in found.items() for owner, length in each.raw),
    }


def measure(args: argparse.Namespace, url: str) -> tuple[dict[str, Measured], int]:
    """Ask every board that is wanted; what was found by uid, and how many GPUs there are."""
    there = known(url)
    pool = Pool(as_reader(url), args.connections)
    with closing(pool):
        bench = Bench(pool, there.end_ms, there.liked, args.repeat)
        found = {}
        for name, board in every_board().items():
            if args.only and name not in args.only:
                continue
            asked = of_board(json.loads(document(board)))
            found[asked.uid] = bench.measure(asked)
            for line in missed({asked.uid: found[asked.uid]}):
                say(line)
            say(f"{name} asked")
    return found, there.gpus


def parser() -> argparse.ArgumentParser:
    """What can be set."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("--gpus", type=int, default=100_000)
    found.add_argument("--days", type=int, default=30, help="of history; at least 2")
    found.add_argument("--watched", type=int, default=50, help="nodes with samples of their own, every 10 s")
    found.add_argument("--templates", type=int, default=231, help="nodes whose history the others are given")
    found.add_argument("--repeat", type=int, default=20)
    found.add_argument("--connections", type=int, default=CONNECTIONS, help="those of the data source")
    found.add_argument("--only", nargs="*", help="boards of these names")
    found.add_argument("--folder", type=Path, help="on which disk the data lie while it runs")
    found.add_argument("--database", help="a store that is filled already, by its URL: as a role that owns it")
    return found


def main() -> None:
    """Run, print the table, and one JSON object as the last line."""
    args = parser().parse_args()
    # What was started ends with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if args.database:
        found, gpus = measure(args, args.database)
    else:
        with tempfile.TemporaryDirectory(prefix="gpufleet-bench-", dir=args.folder) as folder:
            # PostgreSQL's account, where that is another one, must get in.
            Path(folder).chmod(0o755)
            with filled(args, Path(folder)) as url:
                found, gpus = measure(args, url)
    show(found, gpus)
    print(json.dumps(result(found, gpus)))


def say(what: str) -> None:
    """Tell people how far it is."""
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
