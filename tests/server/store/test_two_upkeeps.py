"""Two servers at the same work, or a server and `gpufleet db`: it is done once, and neither of them fails."""

import contextlib
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest
from gpufleet_server.store import partitions
from gpufleet_server.store.engine import Store
from gpufleet_server.store.fold import fold
from gpufleet_server.store.retention import Keep
from gpufleet_server.store.schema import metadata
from gpufleet_server.store.seal import seal_until
from gpufleet_server.store.tiers import DAY, HOUR, due, fleet_minutes, fleet_states, recent
from gpufleet_server.store.upkeep import Upkeep, run_once
from gpufleet_server.store.usage import RECORD, usage_recent
from sqlalchemy import Connection, insert, select

from tests import postgres
from tests.server.fixtures import NewDatabase
from tests.server.fleet import SECOND, Fleet
from tests.server.store.locks import somebody_waits, wait_until
from tests.server.store.sampled import MIDNIGHT, add, gpu, hours
from tests.server.used import Used

NOW = MIDNIGHT + hours(5.2)
KEEP = Keep(samples=5 * DAY, hourly=5 * DAY, daily=5 * DAY, fleet_minutes=DAY, fleet_hours=5 * DAY, usage=5 * DAY)
LONG_AGO = MIDNIGHT - 400 * DAY
STEPS = (
    *("partitions", "fleet_states", "gpu_counts", "fleet_hours", "seal", "days"),
    *("usage", "usage_days", "usage_today", "usage_long", "usage_waste", "retention"),
)


class Together(Store):
    """A store on which another one does the same work: just before each transaction, or beside the first."""

    before: Callable[[], object] | None = None
    beside: Callable[[], Future[None]] | None = None
    began: Future[None] | None = None

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that waits before its commit until the other has done its work, or waits for it."""
        if self.before is not None:
            self.before()
        with super().writing() as connection:
            yield connection
            if self.beside is not None:
                other = self.began = self.beside()
                self.beside = None
                wait_until(lambda: other.done() or somebody_waits(self))


@pytest.fixture(scope="module")
def filled(new_postgresql: NewDatabase) -> str:
    """A database with work for every step, some of it old; to be copied."""
    url = new_postgresql()
    with contextlib.closing(Store.open(url)) as store:
        _fill(store)
    return url


@pytest.fixture
def copy(filled: str, postgres_server: str) -> Iterator[Callable[[], str]]:
    """Makes copies of it."""
    made: list[str] = []

    def copied() -> str:
        made.append(f"test_{secrets.token_hex(6)}")
        return postgres.create_database(postgres_server, made[-1], filled.rpartition("/")[2])

    yield copied
    for name in made:
        postgres.drop_database(postgres_server, name)


def _fill(store: Store) -> None:
    fleet, used = Fleet(store), Used(store)
    nodes = [fleet.node(name, site="east", last_seen=NOW) for name in ("alpha", "beta")]
    for node_id in nodes:
        fleet.gpu(node_id, f"GPU-{node_id}", model="H100")
    _use(store, used, nodes, LONG_AGO)
    run_once(store, LONG_AGO + 3 * DAY, Keep(0, 0, 0, 0, 0, 0))
    _use(store, used, nodes, MIDNIGHT - DAY)
    seal_until(store, MIDNIGHT)
    _use(store, used, nodes, MIDNIGHT)
    fold(store, NOW)
    for node_id in nodes:
        used.interval(node_id, 0, _piece(store, used, node_id, MIDNIGHT + 3 * HOUR), NOW - HOUR, NOW)
    with store.writing() as connection:
        kinds = {"waste_hour": MIDNIGHT - 3 * HOUR, "waste_day": MIDNIGHT - DAY}
        connection.execute(insert(due), [{"kind": kind, "node_id": 0, "at": at} for kind, at in kinds.items()])


def _use(store: Store, used: Used, nodes: list[int], begin: int) -> None:
    """Samples of three hours, what was counted of the fleet, an interval, and a piece."""
    with store.writing() as connection:
        partitions.make_ahead(connection, begin)
        minutes = [begin + hours(n) for n in range(1, 4)]
        connection.execute(insert(fleet_minutes), [{"group_id": 1, "ts": ts, "observed": 1} for ts in minutes])
        connection.execute(insert(fleet_states), [{"group_id": 1, "ts": ts + 1, "gpus": 1} for ts in minutes])
        connection.execute(insert(due), {"kind": "hour", "node_id": 0, "at": begin})
    for node_id in nodes:
        add(store, *gpu(node_id, 0, [(begin + hours(n) + 1, n) for n in range(3)]))
        used.interval(node_id, 0, _piece(store, used, node_id, begin + HOUR), begin, begin + HOUR)


def _piece(store: Store, used: Used, node_id: int, at: int) -> int:
    """A piece that is not folded yet; its holder."""
    holder_id, end = used.holder(node_id, "unit", unit=f"{node_id}.service"), at + 10 * SECOND
    piece = RECORD.pack(holder_id, at, end, -1, -1, 10_000, 0, 10_000, 1, 0, -1, -1)
    row = {"node_id": node_id, "received_at": end, "pieces": piece, "partitions": None}
    with store.writing() as connection:
        connection.execute(insert(usage_recent).values(row))
    return holder_id


def _do(store: Store, step: str) -> None:
    (work,) = (each.work for each in Upkeep(store, KEEP, lambda: NOW)._steps if each.name == step)
    work(NOW, lambda: True)


def _content(url: str) -> dict[str, Any]:
    """All rows of all tables, and the partitions."""
    with contextlib.closing(Store.open(url)) as store, store.reading() as connection:
        found: dict[str, Any] = {
            table.name: sorted(map(repr, connection.execute(select(table)))) for table in metadata.sorted_tables
        }
        return found | {"partitions": partitions.listing(connection, recent)}


def test_all_steps_are_tried() -> None:
    """Here are the steps that upkeep has."""
    with contextlib.closing(Store.open("postgresql://nobody@localhost/nothing")) as store:
        assert tuple(step.name for step in Upkeep(store)._steps) == STEPS


@pytest.mark.parametrize("step", STEPS)
def test_what_another_has_done_in_between(copy: Callable[[], str], step: str) -> None:
    """Before each transaction another one does all of the step: what was read before that is out of date."""
    alone, both = copy(), copy()
    with contextlib.closing(Store.open(alone)) as store:
        _do(store, step)
    with contextlib.closing(Together.open(both)) as store, contextlib.closing(Store.open(both)) as other:
        store.before = lambda: _do(other, step)
        _do(store, step)
    assert _content(both) == _content(alone)
    assert _content(alone) != _content(copy())


@pytest.mark.parametrize("step", STEPS)
def test_what_another_does_at_the_same_moment(copy: Callable[[], str], step: str) -> None:
    """While the first transaction is not committed another one begins with the same."""
    alone, both = copy(), copy()
    with contextlib.closing(Store.open(alone)) as store:
        _do(store, step)
    with (
        ThreadPoolExecutor(1) as thread,
        contextlib.closing(Together.open(both)) as store,
        contextlib.closing(Store.open(both)) as other,
    ):
        store.beside = lambda: thread.submit(_do, other, step)
        _do(store, step)
        assert store.began is not None
        store.began.result(60)
    assert _content(both) == _content(alone)
