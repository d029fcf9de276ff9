"""Hours that are over become one row a node, once, whatever comes late and whatever breaks in between."""

import contextlib
import dataclasses
import itertools
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from gpufleet_server.store import partitions
from gpufleet_server.store.engine import Store
from gpufleet_server.store.rollups import roll_days
from gpufleet_server.store.schema import nodes
from gpufleet_server.store.seal import AFTER_HOUR, Sealed, make_partitions, pending, seal, seal_hour, seal_until
from gpufleet_server.store.tiers import DAILY, HOUR, HOURLY, SEALED, due, recent
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from tests.server.fleet import Fleet
from tests.server.store.sampled import (
    MIDNIGHT,
    NAMES,
    SECOND,
    Sent,
    absent,
    add,
    emptied,
    gpu,
    held,
    hours,
    uses,
    waiting,
)

START = MIDNIGHT + hours(9)
_TABLES = (recent, SEALED.table, HOURLY.table, due)


class _KilledError(Exception):
    pass


@st.composite
def _sent(draw: st.DrawFn) -> list[Sent]:
    """Blocks of two nodes over three hours, no two with a sample of one time; some cross an hour's end."""
    blocks = []
    ends = draw(st.lists(st.integers(1, 90), unique=True, min_size=1, max_size=24).map(sorted))
    while ends:
        taken = draw(st.integers(1, 3))
        times, ends = ends[:taken], ends[taken:]
        slots = sorted(draw(st.sets(st.integers(0, 2), min_size=1)))
        size = len(times) * len(slots)
        names = draw(st.sets(st.sampled_from(NAMES)))
        columns = {name: draw(st.lists(_values(name), min_size=size, max_size=size)) for name in sorted(names)}
        durations = draw(st.lists(st.integers(1, 60_000), min_size=len(times), max_size=len(times)))
        # A time is a multiple of two minutes: some end exactly at the hour.
        node_id = draw(st.integers(1, 2))
        blocks.append(Sent(node_id, slots, [START + time * 120 * SECOND for time in times], columns, durations))
    return blocks


def _values(name: str) -> st.SearchStrategy[int]:
    return st.integers(0, 30_000) | st.integers(0, 3).map(lambda n: absent(name) - 5 + n)


def _step(store: Store, kind: str, until: int) -> None:
    """One of the things that may happen between two reports."""
    if kind == "seal":
        seal_until(store, until)
    if kind == "kill":
        for hour, some in pending(store, until)[:1]:
            make_partitions(store, hour)
            with contextlib.suppress(_KilledError), store.writing() as connection:
                seal_hour(connection, hour, some)
                raise _KilledError


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(blocks=_sent(), data=st.data())
def test_in_any_order_it_comes_to_the_same(store: Store, blocks: list[Sent], data: st.DataObject) -> None:
    """Late blocks, seals in between and seals that were killed: as if all had come before one seal of all."""
    emptied(store, *_TABLES, nodes)
    one = Fleet(store).node("one")
    blocks = [dataclasses.replace(block, node_id=block.node_id - 1 + one) for block in blocks]
    Fleet(store, itertools.count(9)).node("two")
    add(store, *blocks)
    sent = waiting(store)
    seal_until(store, START + hours(4))
    expected = held(store, SEALED), held(store, HOURLY), uses(store, HOURLY)
    assert expected[0] == sent
    emptied(store, *_TABLES)
    for block in data.draw(st.permutations(blocks)):
        add(store, block)
        until = START + data.draw(st.integers(1, 4)) * HOUR
        _step(store, data.draw(st.sampled_from(("seal", "kill", "nothing"))), until)
        assert waiting(store).keys() | held(store, SEALED).keys() <= sent.keys()
    seal_until(store, START + hours(4))
    assert (held(store, SEALED), held(store, HOURLY), uses(store, HOURLY)) == expected
    assert not waiting(store)


def test_an_hour_is_sealed_five_minutes_after_its_end(store: Store, fleet: Fleet) -> None:
    """A sample that ended at the hour belongs to the hour before, one µs later to the next."""
    node_id = fleet.node("alpha")
    add(store, *gpu(node_id, 0, [(START + 1, 10), (START + HOUR, 20), (START + HOUR + 1, 30)]))
    assert seal(store, START + HOUR + AFTER_HOUR - 1, 0) == Sealed()
    assert seal(store, START + HOUR + AFTER_HOUR, 0) == Sealed(hours=1, rows=2, samples=2)
    assert [time - START for _, time, _ in held(store, SEALED)] == [1, HOUR]
    assert [time - START for _, time, _ in waiting(store)] == [HOUR + 1]
    ((point, (observed, power, *_)),) = held(store, HOURLY).items()
    assert (point, observed, power) == ((node_id, START + HOUR, 0), 20_000, 15)


def test_a_report_across_the_hours_end_is_cut(store: Store, fleet: Fleet) -> None:
    """Each part goes to its hour; what ended after the hour waits as it came."""
    node_id = fleet.node("alpha")
    times = [START + HOUR - 1, START + HOUR, START + HOUR + 1]
    add(store, Sent(node_id, [0, 4], times, {"power": [1, 2, 3, 4, 5, 6]}))
    before = waiting(store)
    seal_until(store, START + HOUR)
    assert waiting(store).keys() == {(node_id, times[2], 0), (node_id, times[2], 4)}
    assert held(store, SEALED) | waiting(store) == before
    seal_until(store, START + 2 * HOUR)
    assert held(store, SEALED) == before


def test_of_two_samples_of_one_time_the_sealed_one_stays(store: Store, fleet: Fleet) -> None:
    """The first that came is what was shown."""
    node_id = fleet.node("alpha")
    add(store, *gpu(node_id, 0, [(START + 5, 10)]))
    seal_until(store, START + HOUR)
    add(store, *gpu(node_id, 0, [(START + 5, 99), (START + 6, 20)]))
    seal_until(store, START + HOUR)
    assert [values[1] for values in held(store, SEALED).values()] == [10, 20]


def test_rows_that_came_out_of_order(store: Store, fleet: Fleet) -> None:
    """Whatever the order in which rows lie in the table, sealed they are in that of time."""
    node_id = fleet.node("alpha")
    add(store, *gpu(node_id, 0, [(START + 9, 3), (START + 1, 1), (START + 5, 2), (START + 5, 7)]))
    seal_until(store, START + HOUR)
    assert [(time - START, values[1]) for (_, time, _), values in held(store, SEALED).items()] == [
        (1, 1),
        (5, 2),
        (9, 3),
    ]


def test_samples_from_before_the_oldest_kept(store: Store, fleet: Fleet) -> None:
    """They are not stored; their hour gets a point if there is none, and keeps the one that covers more."""
    node_id = fleet.node("alpha")
    add(store, *gpu(node_id, 0, [(START + n, 100) for n in range(1, 10)]))
    seal_until(store, START + HOUR)
    good = held(store, HOURLY)
    emptied(store, SEALED.table)
    add(store, *gpu(node_id, 0, [(START + 50, 900)]), *gpu(node_id, 1, [(START + 50, 300)]))
    assert seal(store, START + hours(50), hours(48)) == Sealed(hours=1, rows=2, samples=2, too_late=2)
    assert not held(store, SEALED)
    assert held(store, HOURLY) == good | {(node_id, START + HOUR, 1): (10_000, 300, *map(absent, NAMES[1:]))}


def test_its_day_is_due(store: Store, fleet: Fleet) -> None:
    """Each day that an hour was sealed of is to be rolled up; an hour that ended at midnight is of the day before."""
    node_id = fleet.node("alpha")
    add(store, *gpu(node_id, 0, [(MIDNIGHT, 10), (START + 1, 10), (START + HOUR + 1, 10)]))
    seal_until(store, START + hours(4))
    with store.reading() as connection:
        days = connection.execute(select(due).order_by(due.c.at)).all()
    assert [tuple(row) for row in days] == [("day", node_id, MIDNIGHT - hours(24)), ("day", node_id, MIDNIGHT)]


def test_many_nodes_are_sealed_in_portions(store: Store, fleet: Fleet) -> None:
    """A transaction has a bounded number of them, oldest hours first, and it ends between two when told to."""
    fast = [fleet.node(f"fast-{n}", interval_ms=1000) for n in range(5)]
    for node_id in fast:
        add(store, *gpu(node_id, 0, [(START + 1, 1), (START + HOUR + 1, 2)]))
    portions = pending(store, START + hours(2))
    assert [(hour, len(some)) for hour, some in portions] == [(START, 2), (START, 2), (START, 1)]
    answers = iter([True, False])
    assert seal_until(store, START + hours(2), go_on=lambda: next(answers)).hours == 2
    assert seal_until(store, START + hours(2)).hours == 8
    assert len(held(store, SEALED)) == 10


def test_a_node_of_many_gpus_weighs_more(store: Store, fleet: Fleet) -> None:
    """What a transaction holds in memory is bounded by samples, not by nodes."""
    nodes = [fleet.node(f"node-{n}", interval_ms=10_000) for n in range(4)]
    for n in range(220):
        fleet.gpu(nodes[1], f"GPU-{n}")
    for node_id in nodes:
        add(store, *gpu(node_id, 0, [(START + 1, 1)]))
    assert pending(store, START + HOUR) == [(START, nodes[:1]), (START, nodes[1:2]), (START, nodes[2:])]


def test_a_node_whose_rows_make_no_sense_keeps_no_other_waiting(
    store: Store, fleet: Fleet, caplog: pytest.LogCaptureFixture
) -> None:
    """What can't be read stays where it is, and is told; all else is sealed."""
    nodes = [fleet.node(f"node-{n}") for n in range(5)]
    for node_id in nodes:
        add(store, *gpu(node_id, 0, [(START + 1, 1), (START + HOUR + 1, 2)]))
    with store.writing() as connection:
        wrong = (recent.c.node_id == nodes[2]) & (recent.c.first == START + 1)
        connection.execute(update(recent).where(wrong).values(power=b"\0\0\0"))
    assert seal_until(store, START + hours(2)).hours == 8
    with store.reading() as connection:
        left = connection.execute(select(recent.c.node_id, recent.c.first).order_by(recent.c.first)).all()
    assert [tuple(row) for row in left] == [(nodes[2], START + 1), (nodes[2], START + HOUR + 1)]
    assert f"node_id {nodes[2]} " in caplog.text


def test_two_at_once_do_it_once(postgresql: Store) -> None:
    """A command and a server that seal the same hours while more comes: nothing is lost, doubled or wrong."""
    node_id = Fleet(postgresql).node("alpha")
    ends = [START + n * HOUR + 1 for n in range(4)]

    def keep_sealing() -> None:
        while not ended.is_set():
            seal_until(postgresql, START + hours(4))

    ended = threading.Event()
    with ThreadPoolExecutor(2) as pool:
        running = [pool.submit(keep_sealing) for _ in range(2)]
        for n in range(10):
            add(postgresql, *gpu(node_id, 0, [(ts + n, n) for ts in ends]))
        ended.set()
        for each in running:
            each.result()
    seal_until(postgresql, START + hours(4))
    assert held(postgresql, SEALED, ("power",)) == {(node_id, ts + n, 0): (10_000, n) for ts in ends for n in range(10)}
    assert [observed for observed, *_ in held(postgresql, HOURLY).values()] == [100_000] * 4


def test_late_by_years(postgresql: Store) -> None:
    """Partitions for long ago are made when something comes from then."""
    node_id = Fleet(postgresql).node("alpha")
    add(postgresql, *gpu(node_id, 0, [(START - hours(20_000), 7)]))
    seal_until(postgresql, START)
    roll_days(postgresql, START)
    assert len(held(postgresql, SEALED)) == len(held(postgresql, HOURLY)) == len(held(postgresql, DAILY)) == 1
    with postgresql.reading() as connection:
        begin = partitions.listing(connection, SEALED.table)[0].begin
    assert begin is not None
    assert begin < START - hours(19_000)
