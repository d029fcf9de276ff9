"""How long the questions take that people ask of a fleet: 100,000 GPUs, 30 days of rollups, a day of samples.

The store is filled by COPY (tests/bench/query_fleet.py says with what), analysed and checkpointed. Then each question
is asked as the API, the command line and a dashboard ask it: `ms` is the real query function on a connection of its
own for each question, as a request has it; `http` the same through a running `gpufleet serve`, JSON included. Each is
asked again and again with other nodes, GPUs and times, after one that does not count. Beside it VictoriaMetrics, which
holds the last hour or so of a handful of metrics at 60 s, answers the same in PromQL where it can.
"""

import argparse
import gc
import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import numpy as np
from gpufleet_server.store.engine import Store
from gpufleet_server.store.migrate import migrate
from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, create_engine, text

from tests.bench.peers.peer import VictoriaMetrics
from tests.bench.processes import disk_bytes
from tests.bench.query_fleet import MINUTE, QueryFleet, Scope
from tests.bench.query_peers import QueriedVictoriaMetrics
from tests.bench.query_questions import Draw, Question, cursors, questions
from tests.e2e.stack import Server
from tests.postgres import Postgres, postgres

BUDGET_MS = 100.0
SETTINGS = {
    "shared_buffers": "1GB",
    "effective_cache_size": "8GB",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "15min",
    "wal_compression": "on",
    # Months that are filled in minutes would be vacuumed while all is asked; that is done before.
    "autovacuum_vacuum_insert_threshold": "-1",
}
_UPKEEP = "upkeep"


class NothingFoundError(Exception):
    """A question was answered with nothing, so that its time says nothing."""


@dataclass(frozen=True)
class Times:
    """How long askings took, ms."""

    p50_ms: float
    p95_ms: float

    @classmethod
    def of(cls, seconds: list[float]) -> "Times":
        """Nearest-rank quantiles."""
        p50, p95 = np.quantile(np.array(seconds) * 1000, (0.5, 0.95), method="inverted_cdf").round(2).tolist()
        return cls(p50, p95)


@dataclass
class Answered:
    """What was measured of a question; `peer` is why it could not be asked where it is a text."""

    functions: Times
    rows: int
    http: Times | None = None
    peer: Times | str = "not installed"


class Asker:
    """Asks questions with the parameters of a run, the same ones of everybody."""

    def __init__(self, store: Store, of: QueryFleet, repeat: int, plain: Engine) -> None:
        """Draw the parameters. Questions by hand go over `plain`, whose connections are as psql has them."""
        self._store, self._plain = store, plain
        with store.reading() as connection:
            self.draws = [Draw(of, number, cursors(connection, of, number)) for number in range(repeat + 1)]

    def by_function(self, question: Question) -> tuple[Times, int]:
        """By the query functions: times, and how many rows the last asking gave."""
        connect = self._plain.connect if question.psql else self._store.reading

        def ask(draw: Draw) -> int:
            with connect() as connection:
                return question.ask(connection, draw)

        return self._timed(question.name, ask)

    def over_http(self, question: Question, client: httpx.Client) -> Times | None:
        """Through a server, where there is a path for it."""
        path_of = question.http
        if path_of is None:
            return None

        def ask(draw: Draw) -> int:
            path, parameters = path_of(draw)
            return len(client.get(f"/api/v1{path}", params=parameters).raise_for_status().content)

        return self._timed(question.name, ask)[0]

    def of_peer(self, question: Question, peer: QueriedVictoriaMetrics) -> Times | str:
        """By PromQL, or why that can't be."""
        query = question.promql
        if isinstance(query, str):
            return query
        if not peer.holds(query(self.draws[0])):
            return f"it holds {peer.hours} h"
        return self._timed(question.name, lambda draw: peer.ask(query(draw)))[0]

    def _timed(self, name: str, ask: Callable[[Draw], int]) -> tuple[Times, int]:
        seconds: list[float] = []
        found = 0
        for draw in self.draws:
            begin = time.perf_counter()
            found = ask(draw)
            seconds.append(time.perf_counter() - begin)
            if not found:
                raise NothingFoundError(f"{name} was answered with nothing")
        # The first one does not count.
        return Times.of(seconds[1:]), found


@contextmanager
def serving(database: str, folder: Path) -> Iterator[httpx.Client]:
    """A client of a server on that database, while the block runs."""
    server = Server(folder, postgresql=database)
    server.start()
    headers = {"authorization": f"Bearer {server.token('reader')}"}
    try:
        with httpx.Client(base_url=server.url, headers=headers, timeout=60) as client:
            yield client
    finally:
        server.kill(signal.SIGTERM)


def fill(store: Store, of: QueryFleet, database: Postgres) -> None:
    """Fill the store, and have PostgreSQL learn what is in it and write it to its files, as it would in time."""
    begin = time.monotonic()
    migrate(store)
    of.fill(store, lambda what: _say(f"{time.monotonic() - begin:7.1f} s  {what}"))
    engine = create_engine(plain_url(database.url("gpufleet")), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in ("VACUUM (ANALYZE, PROCESS_TOAST false)", "CHECKPOINT"):
            connection.execute(text(statement))
    engine.dispose()
    _say(f"{time.monotonic() - begin:7.1f} s  analysed; {disk_bytes(database.data) / 1e6:,.0f} MB on disk, WAL and all")


def measure(args: argparse.Namespace, of: QueryFleet, folder: Path) -> dict[str, Answered]:
    """Ask everything."""
    wanted = [each for each in questions() if not args.only or any(part in each.name for part in args.only)]
    with ExitStack() as ends:
        database = ends.enter_context(postgres(folder / "postgres", SETTINGS))
        _say(f"{database.version()}; {', '.join(f'{name} = {value}' for name, value in SETTINGS.items())}")
        url = database.create_database("gpufleet")
        store = ends.enter_context(closing(Store.open(url)))
        fill(store, of, database)
        # The garbage collector has no more to do than in a server, where nothing has filled a store.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 50)
        # The server that is asked must not begin to seal and to retain: what there is stays as it is.
        assert ends.enter_context(closing(store.election(_UPKEEP))).won()
        plain = create_engine(plain_url(url))
        ends.callback(plain.dispose)
        asker = Asker(store, of, args.repeat, plain)
        found: dict[str, Answered] = {}
        for question in wanted:
            found[question.name] = Answered(*asker.by_function(question))
            _say(f"{question.name}: {found[question.name].functions}")
        if not args.no_http:
            with serving(url, folder) as client:
                for question in wanted:
                    found[question.name].http = asker.over_http(question, client)
        if not args.no_peer:
            ask_peer(asker, wanted, found, of, args.vm_hours, folder)
        if args.keep:
            _say(f"{url} stays until Enter is pressed")
            sys.stdin.readline()
    return found


def ask_peer(
    asker: Asker, wanted: list[Question], found: dict[str, Answered], of: QueryFleet, hours: int, folder: Path
) -> None:
    """Ask VictoriaMetrics what it can tell."""
    try:
        peer = QueriedVictoriaMetrics(VictoriaMetrics(folder / "victoriametrics"), of, hours)
    except FileNotFoundError as error:
        _say(f"LEFT OUT: {error}")
        return
    with closing(peer):
        peer.fill(_say)
        for question in wanted:
            found[question.name].peer = asker.of_peer(question, peer)


def plain_url(url: str) -> str:
    """The URL as SQLAlchemy wants it where no store is opened."""
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


def show(found: Mapping[str, Answered], scope: Scope) -> None:
    """The table for people."""
    title = (
        f"{scope.gpus:,} GPUs, {scope.days} days of rollups, {scope.minute_days} of the fleet's minutes; ms, p50/p95"
    )
    table = Table("question", "rows", "gpufleet", f"p95 ≤ {BUDGET_MS:g} ms", "http", "VictoriaMetrics", title=title)
    for name, each in found.items():
        met = "met" if each.functions.p95_ms <= BUDGET_MS else "NOT MET"
        http = _pair(each.http) if each.http else "–"
        table.add_row(name, f"{each.rows:,}", _pair(each.functions), met, http, _pair(each.peer))
    Console(width=150 if not sys.stdout.isatty() else None).print(table)


def _pair(times: Times | str) -> str:
    return times if isinstance(times, str) else f"{times.p50_ms:,.1f} / {times.p95_ms:,.1f}"


def result(found: Mapping[str, Answered], scope: Scope) -> dict[str, object]:
    """The last line."""
    return {
        "bench": "queries",
        "gpus": scope.gpus,
        "days": scope.days,
        "worst_p95_ms": max(each.functions.p95_ms for each in found.values()),
        "queries": {name: asdict(each.functions) for name, each in found.items()},
        "http": {name: asdict(each.http) for name, each in found.items() if each.http},
        "victoriametrics": {
            name: None if isinstance(each.peer, str) else asdict(each.peer) for name, each in found.items()
        },
    }


def main() -> None:
    """Run, print the table, and one JSON object as the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, default=100_000)
    parser.add_argument("--days", type=int, default=30, help="of rollups")
    parser.add_argument("--minute-days", type=int, default=7, help="of the fleet's minutes; at least 2")
    parser.add_argument(
        "--watched", type=int, default=50, help="nodes whose samples are asked for: they have their own"
    )
    parser.add_argument("--templates", type=int, default=231, help="nodes whose history the others are given")
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--only", nargs="*", help="questions whose names contain one of these")
    parser.add_argument("--no-http", action="store_true", help="do not ask a server too")
    parser.add_argument("--no-peer", action="store_true", help="leave VictoriaMetrics out")
    parser.add_argument("--vm-hours", type=int, default=1, help="how much VictoriaMetrics is given")
    parser.add_argument("--folder", type=Path, help="on which disk the data lie while it runs")
    parser.add_argument("--keep", action="store_true", help="keep the database until Enter, to look into it")
    args = parser.parse_args()
    # What was started ends with us.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    now = int(time.time()) * 1_000_000 // MINUTE * MINUTE
    of = QueryFleet(Scope(args.gpus, now, args.days, max(args.minute_days, 2), args.watched, args.templates))
    with tempfile.TemporaryDirectory(prefix="gpufleet-bench-", dir=args.folder) as folder:
        # PostgreSQL's account, where that is another one, must get in.
        Path(folder).chmod(0o755)
        found = measure(args, of, Path(folder))
    show(found, of.scope)
    print(json.dumps(result(found, of.scope)))


def _say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
