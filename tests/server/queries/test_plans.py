"""Queries that look things up by index: what they touch must not grow with the history of the fleet."""

from collections.abc import Callable
from typing import Any

import pytest
from gpufleet_agent.catalogue import METRICS
from gpufleet_server.queries import events, gpus, series
from gpufleet_server.queries import fleet as totals
from gpufleet_server.queries.buckets import grid
from gpufleet_server.queries.events import EventFilter
from gpufleet_server.queries.filters import FleetFilter, GpuFilter
from gpufleet_server.store.engine import Store
from sqlalchemy import Connection, event

from tests.server.fleet import NOW, SECOND, Fleet

HOUR = 3600 * SECOND
HISTORY = ("recent", "sealed", "hourly", "daily", "states", "events")
QUERIES: dict[str, Callable[[Connection], Any]] = {
    "groups": lambda connection: totals.overview(connection, FleetFilter(), NOW),
    "by-kind": lambda connection: events.by_kind(connection, FleetFilter(), NOW - HOUR),
    "gpus": lambda connection: gpus.listing(connection, GpuFilter(), NOW, limit=100),
    "gpus-by-power": lambda connection: gpus.listing(connection, GpuFilter(), NOW, limit=100, sort="-power"),
    "gpu": lambda connection: gpus.one(connection, "GPU-1", NOW),
    "raw": lambda connection: series.raw(connection, 1, NOW - HOUR, NOW, METRICS),
    "stepped": lambda connection: series.stepped(connection, 1, grid(NOW - HOUR, NOW, None, 10_000), METRICS),
    "events-of-a-gpu": lambda connection: events.listing(connection, EventFilter(gpu=["GPU-1"]), limit=10),
    "events-of-a-node": lambda connection: events.listing(connection, EventFilter(node=["alpha"]), limit=10),
    "events-of-a-kind": lambda connection: events.listing(connection, EventFilter(kind=["xid"]), limit=10),
    "events-of-a-code": lambda connection: events.listing(connection, EventFilter(code=[79]), limit=10),
    "events-since": lambda connection: events.listing(connection, EventFilter(since=NOW - HOUR), limit=10),
    "events-after": lambda connection: events.listing(connection, EventFilter(after=1), limit=10, order="arrival"),
}


def _plan(connection: Connection, query: Callable[[Connection], Any]) -> list[str]:
    """What the database does for each statement of a query."""
    asked: list[tuple[str, Any]] = []
    event.listen(connection, "before_cursor_execute", lambda _c, _cursor, text, given, *_: asked.append((text, given)))
    query(connection)
    how = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
    return [row[-1] for text, given in list(asked) for row in connection.exec_driver_sql(f"{how} {text}", given)]


def _walks(step: str) -> bool:
    """Whether all of a table of history is read: `SCAN sealed`, or `Seq Scan on sealed_20260921_00 sealed_1`."""
    _, _, what = step.partition("Seq Scan on " if "Seq Scan" in step else "SCAN ")
    return what.startswith(HISTORY) and "USING" not in what


@pytest.mark.parametrize("name", QUERIES)
def test_no_query_walks_through_history(store: Store, fleet: Fleet, name: str) -> None:
    """Blocks, states and events are found by index, never by reading all of them."""
    fleet.gpu(fleet.node("alpha"), "GPU-1")
    with store.reading() as connection:
        if store.dialect == "postgresql":
            # It would read small tables whole; so it does that only where it must.
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        steps = _plan(connection, QUERIES[name])
    assert steps
    assert not [step for step in steps if _walks(step)]
