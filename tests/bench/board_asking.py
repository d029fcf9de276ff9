"""Asks a database as Grafana's PostgreSQL plugin does, with the clock beside it, and reads what EXPLAIN tells."""

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

import psycopg
from psycopg import pq

from tests.bench.processes import cpu_seconds


class RefusedError(Exception):
    """PostgreSQL did not answer a statement; says why, and which it was."""


@dataclass(frozen=True)
class Answered:
    """Seconds until all rows were here, CPU seconds of the server's process meanwhile, and how many rows.

    The CPU is 0 where the server is on another machine. Parallel workers of it are not in it.
    """

    seconds: float
    cpu: float
    rows: int


class Pool:
    """As many connections of a role as a data source is allowed."""

    def __init__(self, url: str, size: int) -> None:
        self.size = size
        self._all = [psycopg.connect(url, autocommit=True) for _ in range(size)]
        self._free: SimpleQueue[psycopg.Connection[Any]] = SimpleQueue()
        for connection in self._all:
            self._free.put(connection)
        self._workers = ThreadPoolExecutor(size)

    def close(self) -> None:
        """Close them."""
        self._workers.shutdown()
        for connection in self._all:
            connection.close()

    def rows(self, sql: str) -> tuple[list[str], list[tuple[Any, ...]]]:
        """The names of the columns, and the rows."""
        connection = self._free.get()
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql.encode(), prepare=False)
                return [column.name for column in cursor.description or ()], cursor.fetchall()
        finally:
            self._free.put(connection)

    def timed(self, sql: str) -> Answered:
        """Ask on a connection that is free. RefusedError."""
        connection = self._free.get()
        backend = connection.info.backend_pid
        try:
            busy, begin = _cpu(backend), time.perf_counter()
            # Without parameters libpq takes the simple protocol, as Grafana does; the rows stay as text.
            result = connection.pgconn.exec_(sql.encode())
            found = Answered(time.perf_counter() - begin, _cpu(backend) - busy, result.ntuples)
        finally:
            self._free.put(connection)
        if result.status != pq.ExecStatus.TUPLES_OK:
            raise RefusedError(f"{result.error_message.decode().strip()}\n{sql}")
        return found

    def at_once(self, statements: Sequence[str]) -> float:
        """Seconds until all are answered, as many at a time as there are connections."""
        begin = time.perf_counter()
        for done in [self._workers.submit(self.timed, sql) for sql in statements]:
            done.result()
        return time.perf_counter() - begin

    def tables(self, sql: str) -> Mapping[str, int]:
        """The tables, or partitions, that a statement really reads, and how many rows it takes of each."""
        _, rows = self.rows(f"EXPLAIN (ANALYZE, TIMING OFF, FORMAT JSON) {sql}")
        told = rows[0][0]
        plan = told if isinstance(told, list) else json.loads(told)
        found: Counter[str] = Counter()
        for node in _nodes(plan[0]["Plan"]):
            if "Relation Name" in node and node["Actual Loops"]:
                found[node["Relation Name"]] += round(node["Actual Rows"] * node["Actual Loops"])
        return found


def _cpu(backend: int) -> float:
    try:
        return cpu_seconds([backend])
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for each in plan.get("Plans") or []:
        yield from _nodes(each)
