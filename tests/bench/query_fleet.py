"""A store with a fleet's inventory and its history, filled by COPY instead of by agents.

Every node has rows of its own in all tables and a newest sample of its own. The history of a few hundred template
nodes is made from the simulator's physics; the other nodes of the same site, model and purpose are given the same
rows, which are as large and compress as well as their own would. Nodes whose samples are asked for (`watched`) have
their own, at 10 s; the others' are 60 s apart. The fleet's minutes are those of the templates, each counted as often as
it was given away, and the last day's stand for every day.
"""

import dataclasses
import itertools
import math
import random
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import msgspec
import numpy as np
from gpufleet_agent import wire
from gpufleet_agent.catalogue import BY_NAME, EVERY_SAMPLE, ON_CHANGE
from gpufleet_server.simulate.boards import Boards
from gpufleet_server.simulate.identity import roster
from gpufleet_server.simulate.plan import SimNode, fleet_of
from gpufleet_server.store import fleet_rollups, partitions, schema, seal, tiers
from gpufleet_server.store.bulk import insert_rows
from gpufleet_server.store.engine import Store
from gpufleet_server.store.latest_states import latest_states
from gpufleet_server.store.tiers import DAY, HOUR, begin_of
from gpufleet_server.store.usage_places import Place, place_ids
from sqlalchemy import Connection, Table, text

from tests.bench import query_blocks, query_states
from tests.bench.query_blocks import Rows
from tests.bench.query_groups import COLUMNS, Minutes

PER_NODE, MINUTE, SEED = 8, 60_000_000, 7
WATCHED_MS, OTHERS_MS = 10_000, 60_000
# The simulator's nodes of eight GPUs repeat after so many, sites and models alike.
ROUND = 33
_XIDS = (13, 31, 43, 48, 63, 74, 79, 94, 95)
_NAMED = ("uuid", "vendor", "model", "serial", "pci_address", "vbios_version", "inforom_image_version",
          "gsp_firmware_version", "board_part_number")  # fmt: skip
_Job = Callable[[Connection], None]


@dataclasses.dataclass(frozen=True)
class Scope:
    """How much there is. `now` (µs, a whole minute) is the moment as of which all is asked; lengths in days."""

    gpus: int
    now: int
    days: int
    minute_days: int
    watched: int
    templates: int

    @property
    def sealed_until(self) -> int:
        """The end of the last hour that is sealed."""
        return seal.horizon(self.now)

    @property
    def shown(self) -> int:
        """The time of the newest samples: ahead of all that will be asked, so that none is old by then."""
        return self.now + HOUR


class QueryFleet:
    """The fleet that is asked about."""

    def __init__(self, scope: Scope) -> None:
        self.scope = scope
        self.nodes = fleet_of(SEED, math.ceil(scope.gpus / PER_NODE), PER_NODE, scope.now, faults=False)
        templates = min(math.ceil(scope.templates / ROUND) * ROUND, len(self.nodes))
        self.templates = self.nodes[:templates]
        places = range(len(self.nodes))
        self.watched = sorted(random.Random(SEED).sample(places, min(scope.watched, len(self.nodes))))
        self.changes = query_states.changes(len(self.nodes) * PER_NODE, scope.now, scope.days)
        # One node in a hundred is silent, one GPU in a thousand has fallen off the bus.
        self.silent = frozenset(places[57::100])
        self.lost = frozenset((number, 3) for number in places[33::125])

    @property
    def kinds(self) -> list[tuple[str, str]]:
        """The pairs of site and model."""
        return sorted({(node.site.name, node.model.name) for node in self.templates})

    def fill(self, store: Store, say: Callable[[str], None]) -> None:
        """Fill a migrated, empty store."""
        self._make_partitions(store)
        steps: list[tuple[str, Iterable[_Job]]] = [
            ("inventory", self._inventory()),
            ("the fleet's minutes, hours and states", [self._add_fleet, self._add_states]),
            ("samples", self._samples()),
            ("rollups", self._rollups()),
        ]
        with ThreadPoolExecutor(2) as workers:
            # While what one step made goes into the database, the next one is made.
            begun = [(name, [workers.submit(_do, store, job) for job in jobs]) for name, jobs in steps]
            for name, jobs_begun in begun:
                for job in jobs_begun:
                    job.result()
                say(f"{name} filled")

    def _make_partitions(self, store: Store) -> None:
        now, days = self.scope.now, self.scope.days
        for table, length, back in (
            (tiers.recent, HOUR, 2 * HOUR),
            (tiers.SEALED.table, DAY, 2 * DAY),
            (tiers.HOURLY.table, DAY, (days + 1) * DAY),
            (tiers.DAILY.table, DAY, (days + 33) * DAY),
        ):
            with store.writing() as connection:
                for at in range(now - back, now + 1, length):
                    partitions.make_for(connection, table, at)

    # --- who is there ----------------------------------------------------------------------------------------------

    def _inventory(self) -> Iterator[_Job]:
        numbered = list(enumerate(self.nodes))
        for first in range(0, len(numbered), 1000):
            some = numbered[first : first + 1000]
            yield partial(self._add_nodes, some)
            yield partial(self._add_present, some)
        yield self._add_events

    def _add_nodes(self, some: Sequence[tuple[int, SimNode]], connection: Connection) -> None:
        rosters = {number: roster(node, self.scope.now) for number, node in some}
        _insert(connection, schema.nodes, (self._node(number, node, rosters[number]) for number, node in some))
        _insert(connection, schema.gpus, (row for number in rosters for row in self._gpus(number, rosters[number])))
        _insert(
            connection, schema.partitions, (row for number in rosters for row in self._mig(rosters[number], number))
        )
        streams = ({"node_id": n + 1, "stream": str(uuid.UUID(int=n)), "last_seq": 8640, "last_seen": self.scope.now}
                   for n in rosters)  # fmt: skip
        _insert(connection, schema.streams, streams)

    def _node(self, number: int, node: SimNode, found: wire.Roster) -> dict[str, Any]:
        seen = self.scope.now - HOUR if number in self.silent else self.scope.shown
        host = {"site": node.site.name, "room": node.room, "rack": node.rack, "agent_version": found.host.agent_version}
        driver = {"driver_state": "ok", "driver_since": self.scope.now - 40 * DAY, "driver_detail": ""}
        software = {name: getattr(found.host, name) for name in ("driver_version", "cuda_version", "kernel", "os")}
        rest = dict.fromkeys(("clock_offset", "clock_measured", "backlog_reports", "backlog_bytes"), 0)
        return host | driver | software | rest | {
            "node_id": number + 1, "uuid": node.id, "hostname": node.hostname, "simulated": True,
            "interval_ms": WATCHED_MS, "backlog_dropped": 0, "roster_digest": wire.digest(found),
            "facts": msgspec.to_builtins(found.host), "first_seen": self.scope.now - 40 * DAY, "last_seen": seen,
            "version": 1,
        }  # fmt: skip

    def _gpus(self, number: int, found: wire.Roster) -> Iterator[dict[str, Any]]:
        for slot, gpu in enumerate(found.gpus):
            known = msgspec.to_builtins(gpu)
            named = {name: known.get(name) for name in _NAMED}
            yield named | {
                "gpu_id": number * PER_NODE + slot + 1, "node_id": number + 1, "slot": slot, "position": gpu.index,
                "memory_total": gpu.memory_total, "lost": (number, slot) in self.lost, "identity": known,
                "first_seen": self.scope.now - 40 * DAY, "removed_at": None,
            }  # fmt: skip

    def _mig(self, found: wire.Roster, number: int) -> Iterator[dict[str, Any]]:
        slots = itertools.count(PER_NODE)
        for slot, gpu in enumerate(found.gpus):
            for each in gpu.partitions:
                yield {
                    "node_id": number + 1, "uuid": each.uuid, "slot": next(slots),
                    "gpu_id": number * PER_NODE + slot + 1, "profile": each.profile,
                    "facts": msgspec.to_builtins(each), "first_seen": self.scope.now - 40 * DAY, "removed_at": None,
                }  # fmt: skip

    def _add_present(self, some: Sequence[tuple[int, SimNode]], connection: Connection) -> None:
        """The newest samples, and what is in force of what is sent on change or can't be had."""
        nodes, first = [node for _, node in some], some[0][0]
        rows = query_blocks.latest_rows(nodes, self.scope.now, self.scope.shown, WATCHED_MS)
        columns = ["node_id", *query_blocks.names(tiers.latest)]
        insert_rows(connection, tiers.latest, columns, ([first + n + 1, *row] for n, row in enumerate(rows)))
        boards, since = Boards.of(nodes), self.scope.now - 40 * DAY
        told = query_states.told(nodes, first, self.scope.now, since, self.changes)
        absent = ([first * PER_NODE + int(n) + 1, name, since, None, 0]
                  for name, those in boards.unsupported.items() if BY_NAME[name] in EVERY_SAMPLE
                  for n in those)  # fmt: skip
        in_force = query_states.latest(nodes, first, self.scope.now, since, self.changes)
        insert_rows(connection, latest_states, ["node_id", *(metric.name for metric in ON_CHANGE)], in_force)
        columns = ["gpu_id", "metric", "ts", "value", "reason"]
        insert_rows(connection, schema.states, columns, itertools.chain(told, absent))

    def _add_events(self, connection: Connection) -> None:
        chance, each_day = random.Random(SEED), max(len(self.nodes) // 2, 24)
        times = sorted(chance.randrange(self.scope.days * DAY) for _ in range(each_day * self.scope.days))
        begin = self.scope.now - self.scope.days * DAY
        told = [self._event(n, begin + at, chance) for n, at in enumerate(times)]
        places = place_ids(connection, [self._place(row) for row in told])
        _insert(connection, schema.events, (row | {"place_id": places[self._place(row)]} for row in told))

    def _place(self, event: dict[str, Any]) -> Place:
        node = self.nodes[event["node_id"] - 1]
        return (node.site.name, node.model.name if event["gpu_id"] else "", True)

    def _event(self, number: int, at: int, chance: random.Random) -> dict[str, Any]:
        node, slot = chance.randrange(len(self.nodes)), chance.randrange(PER_NODE)
        xid = chance.random() < 0.7
        kind = "xid" if xid else chance.choice(("gpu_changed", "driver_unresponsive", "driver_recovered", "clock_step"))
        return {
            "event_id": number + 1, "node_id": node + 1, "gpu_id": node * PER_NODE + slot + 1 if xid else None,
            "partition": None, "ts": at, "kind": kind, "code": chance.choice(_XIDS) if xid else None,
            "source": "nvml", "message": "as the driver told it", "detail": {}, "received_at": at + 1_000_000,
        }  # fmt: skip

    # --- what was measured -----------------------------------------------------------------------------------------

    def _samples(self) -> Iterator[_Job]:
        until, now = self.scope.sealed_until, self.scope.now
        yield from self._given(tiers.SEALED.table, self._made(query_blocks.sealed_rows, until - DAY, until))
        yield from self._given(tiers.recent, self._made(query_blocks.recent_rows, until, now))

    def _made(self, make: Callable[..., list[Rows]], begin: int, end: int) -> tuple[list[Rows], dict[int, Rows]]:
        """The rows of the templates, and of the watched nodes by number."""
        shared = [rows for some in _rounds(self.templates) for rows in make(some, begin, end, OTHERS_MS)]
        watched = [self.nodes[number] for number in self.watched]
        own = [rows for some in _rounds(watched) for rows in make(some, begin, end, WATCHED_MS)]
        return shared, dict(zip(self.watched, own, strict=True))

    def _rollups(self) -> Iterator[_Job]:
        begin = begin_of(self.scope.sealed_until, DAY) - (self.scope.days - 1) * DAY
        made = [query_blocks.rollup_rows(some, begin, self.scope.sealed_until) for some in _rounds(self.templates)]
        for number, table in enumerate((tiers.HOURLY.table, tiers.DAILY.table)):
            yield from self._given(table, ([rows for each in made for rows in each[number]], {}))

    def _given(self, table: Table, made: tuple[list[Rows], dict[int, Rows]]) -> Iterator[_Job]:
        """Jobs that give each node its own rows or those of its template, in the order of time, as they come."""
        for key in sorted(made[0][0]):
            yield partial(self._copy, table, *made, key)

    def _copy(self, table: Table, shared: list[Rows], own: dict[int, Rows], key: int, connection: Connection) -> None:
        rows = (
            [number + 1, *row]
            for number in range(len(self.nodes))
            for row in (own.get(number) or shared[number % len(shared)])[key]
        )
        insert_rows(connection, table, ["node_id", *query_blocks.names(table)], rows)

    # --- the fleet as a whole --------------------------------------------------------------------------------------

    def _add_fleet(self, connection: Connection) -> None:
        minutes = Minutes(self.kinds, query_blocks.times(self.scope.now - DAY, self.scope.now, MINUTE))
        counts = Counter(number % len(self.templates) for number in range(len(self.nodes)))
        for first in range(0, len(self.templates), ROUND):
            boards = Boards.of(self.templates[first : first + ROUND])
            block = query_blocks.sampled(
                boards, query_blocks.times(self.scope.now - DAY, self.scope.now, MINUTE), 60_000
            )
            each = np.repeat([counts[first + n] for n in range(len(boards.nodes))], PER_NODE)
            minutes.add(boards, block, each)
        ids = fleet_rollups.group_ids(connection, minutes.groups())
        insert_rows(connection, tiers.fleet_minutes, ["group_id", "ts", *COLUMNS], minutes.rows(ids))
        self._repeat(connection, tiers.fleet_minutes, self.scope.minute_days, self.scope.now)
        this = begin_of(self.scope.now, HOUR)
        for hour in range(this - DAY, this + 1, HOUR):
            fleet_rollups.roll_hour(connection, hour)
        self._repeat(connection, tiers.fleet_hours, self.scope.days + 1, this)
        self._repeat(connection, tiers.fleet_ten_minutes, self.scope.minute_days, this)
        for six in range(begin_of(this, tiers.SIX_HOURS) - (self.scope.days + 1) * DAY, this, tiers.SIX_HOURS):
            fleet_rollups.roll_hour(connection, six)
        day = begin_of(self.scope.sealed_until, DAY)
        insert_rows(
            connection, tiers.due, ["kind", "node_id", "at"], (["day", n + 1, day] for n in range(len(self.nodes)))
        )

    def _repeat(self, connection: Connection, table: Table, days: int, end: int) -> None:
        """Give the days before the rows of the day that ends at `end`."""
        names = ", ".join(f'"{name}"' for name in COLUMNS)
        connection.execute(
            text(
                f"INSERT INTO {table.name} (group_id, ts, {names}) SELECT group_id, ts - n * {DAY}, {names} "
                f"FROM {table.name} CROSS JOIN generate_series(1, :days - 1) n WHERE ts > :begin AND ts <= :until "
                # As it comes in time: what is of one moment stands together.
                "ORDER BY 2, 1"
            ),
            {"days": days, "begin": end - DAY, "until": end},
        )

    def _add_states(self, connection: Connection) -> None:
        """How many GPUs of each site and model were in which state, a row a minute."""
        counts: Counter[tuple[str, str, bool, str]] = Counter()
        for number, node in enumerate(self.nodes):
            lost = 0 if number in self.silent else sum((number, slot) in self.lost for slot in range(PER_NODE))
            state = "not_reporting" if number in self.silent else "reporting"
            counts[node.site.name, node.model.name, True, state] += PER_NODE - lost
            counts[node.site.name, node.model.name, True, "lost"] += lost
        ids = fleet_rollups.group_ids(connection, [group for group, count in counts.items() if count])
        query = text(
            "INSERT INTO fleet_states (group_id, ts, gpus) SELECT group_id, ts, gpus FROM "
            f"generate_series(CAST(:begin AS bigint), :now, {MINUTE}) ts CROSS JOIN "
            "unnest(CAST(:ids AS bigint[]), CAST(:counts AS integer[])) known (group_id, gpus) ORDER BY ts, group_id"
        )
        there = {ids[group]: count for group, count in counts.items() if count}
        begin = self.scope.now - (self.scope.days + 1) * DAY
        given = {"begin": begin, "now": self.scope.now, "ids": list(there), "counts": list(there.values())}
        connection.execute(query, given)


def _do(store: Store, job: _Job) -> None:
    with store.writing() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 0"))
        # It is made anew where it is lost.
        connection.execute(text("SET LOCAL synchronous_commit = off"))
        job(connection)


def _insert(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Insert rows that all have the same columns."""
    found = list(rows)
    if found:
        insert_rows(connection, table, list(found[0]), (list(row.values()) for row in found))


def _rounds(nodes: Sequence[SimNode]) -> Iterator[Sequence[SimNode]]:
    return (nodes[first : first + ROUND] for first in range(0, len(nodes), ROUND))
