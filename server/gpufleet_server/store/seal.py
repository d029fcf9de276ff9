"""Seals hours that are over: what came of a node in many small rows becomes one row of planes, and an hour's point."""

import collections
import dataclasses
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from gpufleet_agent.catalogue import BY_NAME
from sqlalchemy import Connection, delete, func, select

from gpufleet_server.domain.clock import SECOND
from gpufleet_server.store import partitions, schema
from gpufleet_server.store.blocks import Block, cut, merge
from gpufleet_server.store.bulk import insert_rows
from gpufleet_server.store.engine import Store
from gpufleet_server.store.leases import ROLLUPS, alone
from gpufleet_server.store.rollups import METRICS, add_planes, owe_day, point, put, take_planes
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import DAY, HOUR, HOURLY, SEALED, begin_of, recent

if TYPE_CHECKING:
    import psycopg

_LOG = logging.getLogger(__name__)

# An hour is sealed so long after its end: by then what was on its way has come.
AFTER_HOUR = 5 * 60 * SECOND
# Samples in one transaction: bounds its memory, and how long it takes. A node counts as one of so many GPUs at least.
_SAMPLES, _LEAST_GPUS = 80_000, 8

_KEY = ("node_id", "first", "last", "slots", "times", "durations")
_COLUMNS = (*_KEY, *METRICS)
_KINDS = [(name, f"<i{BY_NAME[name].width}") for name in METRICS]
_Rows = Sequence[Mapping[str, Any]]


@dataclasses.dataclass(slots=True)
class Sealed:
    """What a pass has done: hours of nodes, rows of `recent`, samples in them; and samples that came too late."""

    hours: int = 0
    rows: int = 0
    samples: int = 0
    too_late: int = 0

    def __iadd__(self, other: "Sealed") -> "Sealed":
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self


def horizon(now: int) -> int:
    """The end of the last hour that is to be sealed at `now`, µs."""
    return (now - AFTER_HOUR) // HOUR * HOUR


def seal(store: Store, now: int, keep: int, go_on: Callable[[], bool] = lambda: True) -> Sealed:
    """Seal every hour that is over, some nodes in a transaction, for as long as `go_on` says so.

    Samples older than `keep` µs (0: none is) are no longer stored: their hour gets a point if it has none.
    """
    return seal_until(store, horizon(now), now - keep if keep else 0, go_on)


def seal_until(store: Store, until: int, kept_from: int = 0, go_on: Callable[[], bool] = lambda: True) -> Sealed:
    """Seal what ended at `until` (µs) or before; of hours that ended at `kept_from` or before only the rollup stays."""
    done, made, unreadable = Sealed(), set[int](), set[int]()
    while waiting := pending(store, until, unreadable):
        for hour, some in waiting:
            if not go_on():
                return done
            if hour not in made:
                make_partitions(store, hour)
                made.add(hour)
            done += _seal_readable(store, hour, some, unreadable, keep=hour + HOUR > kept_from)
    return done


def _seal_readable(store: Store, hour: int, some: list[int], unreadable: set[int], *, keep: bool) -> Sealed:
    """Seal the hour of these nodes but of those whose rows make no sense: they must not keep the others waiting."""
    try:
        with store.writing() as connection:
            return seal_hour(connection, hour, some, keep=keep)
    except ValueError as error:
        if len(some) == 1:
            _LOG.error("what is stored of node_id %d in the hour from %d µs can't be sealed: %s", some[0], hour, error)
            unreadable.add(some[0])
            return Sealed()
    done = Sealed()
    for part in (some[: len(some) // 2], some[len(some) // 2 :]):
        done += _seal_readable(store, hour, part, unreadable, keep=keep)
    return done


def pending(store: Store, until: int, but: Collection[int] = ()) -> list[tuple[int, list[int]]]:
    """Hours (their begin, µs) and nodes to be sealed, oldest first, in portions; of each node only its oldest hour.

    Nothing of the nodes `but`.
    """
    oldest = select(func.min(recent.c.first)).where(recent.c.node_id == nodes.c.node_id, recent.c.first <= until)
    own, parts = (
        select(func.count()).where(table.c.node_id == nodes.c.node_id).scalar_subquery()
        for table in (gpus, schema.partitions)
    )
    query = select(
        nodes.c.node_id, nodes.c.interval_ms, oldest.scalar_subquery().label("first"), (own + parts).label("gpus")
    )
    with store.reading() as connection:
        rows = [row for row in connection.execute(query) if row.first is not None and row.node_id not in but]
    rows.sort(key=lambda row: (begin_of(row.first, HOUR), row.node_id))
    return [
        portion
        for hour, some in groupby(rows, lambda row: begin_of(row.first, HOUR))
        for portion in _portions(hour, some)
    ]


def oldest_unsealed(store: Store) -> int | None:
    """The end of the oldest sample in `recent`, µs; None where there is none."""
    with store.reading() as connection:
        return connection.execute(select(func.min(recent.c.first))).scalar()


def _portions(hour: int, rows: Iterable[Any]) -> Iterator[tuple[int, list[int]]]:
    some: list[int] = []
    weight = 0
    for row in rows:
        samples = 3_600_000 // max(row.interval_ms, 1000) * max(row.gpus, _LEAST_GPUS)
        if some and weight + samples > _SAMPLES:
            yield hour, some
            some, weight = [], 0
        some.append(row.node_id)
        weight += samples
    yield hour, some


def make_partitions(store: Store, hour: int) -> None:
    """Make the partitions that an hour's seal goes into, where there are none: it may be long ago."""
    if store.dialect == "postgresql":
        with store.writing() as connection:
            alone(connection, ROLLUPS)
            partitions.make_for(connection, SEALED.table, hour)
            partitions.make_for(connection, HOURLY.table, begin_of(hour + HOUR, DAY))


def seal_hour(connection: Connection, hour: int, some: Sequence[int], *, keep: bool = True) -> Sealed:
    """Seal the hour of these nodes that begins at `hour` (µs), in the caller's transaction; others wait for its end.

    With `keep` false only its rollup is kept.
    """
    end = hour + HOUR
    alone(connection, ROLLUPS)
    blocks: dict[int, list[Block]] = collections.defaultdict(list)
    rest: list[tuple[int, Block]] = []
    rows = _taken(connection, hour, end, some)
    for row in rows:
        block = _rising(_block(row))
        blocks[row["node_id"]].append(cut(block, hour, end))
        if block.times[-1] > end:
            rest.append((row["node_id"], cut(block, end, int(block.times[-1]))))
    insert_rows(connection, recent, _COLUMNS, (_raw(node_id, block) for node_id, block in rest))
    before = take_planes(connection, SEALED, hour, list(blocks))
    whole = {node_id: _whole(before.get(node_id), parts) for node_id, parts in blocks.items()}
    kept = {node_id: block for node_id, block in whole.items() if keep or node_id in before}
    add_planes(connection, SEALED, hour, kept)
    put(connection, HOURLY, {node_id: point(block, end) for node_id, block in whole.items()})
    owe_day(connection, whole, end)
    samples = sum(part.durations.size for parts in blocks.values() for part in parts)
    late = sum(part.durations.size for node_id, parts in blocks.items() if node_id not in kept for part in parts)
    return Sealed(len(whole), sum(row["rows"] for row in rows), samples, late)


def _whole(before: Block | None, parts: Sequence[Block]) -> Block:
    if before is None and len(parts) == 1:
        return parts[0]
    return merge([*([before] if before else []), *parts])


def _block(row: Mapping[str, Any]) -> Block:
    """What `blocks.from_recent` gives, quicker to work on: integers as narrow as they came, in memory GPU after GPU."""
    slots, times = np.frombuffer(row["slots"], "<i2").astype(np.int64), np.frombuffer(row["times"], "<i8")
    shape = (len(times), len(slots))
    durations = np.tile(np.frombuffer(row["durations"], "<i4").astype(np.int64), (len(slots), 1)).T
    columns = {
        name: np.ascontiguousarray(np.frombuffer(packed, kind).reshape(shape).T).T
        for name, kind in _KINDS
        if (packed := row[name]) is not None
    }
    return Block(slots, times, durations, columns)


def _rising(block: Block) -> Block:
    """With rising times, of two samples of one time the first."""
    if (block.times[1:] > block.times[:-1]).all():
        return block
    times, index = np.unique(block.times, return_index=True)
    columns = {name: values[index] for name, values in block.columns.items()}
    return Block(block.slots, times, block.durations[index], columns)


def _raw(node_id: int, block: Block) -> list[Any]:
    packed = {
        "node_id": node_id,
        "first": int(block.times[0]),
        "last": int(block.times[-1]),
        "slots": block.slots.astype("<i2").tobytes(),
        "times": block.times.astype("<i8").tobytes(),
        "durations": block.durations[:, 0].astype("<i4").tobytes(),
    }
    packed |= {name: values.astype(f"<i{BY_NAME[name].width}").tobytes() for name, values in block.columns.items()}
    return [packed.get(name) for name in _COLUMNS]


def _taken(connection: Connection, begin: int, end: int, some: Sequence[int]) -> _Rows:
    """Delete rows of `recent` and hand them over: those of one node, its GPUs and its metrics strung together."""
    if connection.dialect.name == "postgresql":
        return _taken_strung(connection, begin, end, some)
    within = (recent.c.node_id.in_(some), recent.c.first > begin, recent.c.first <= end)
    rows = connection.execute(
        delete(recent).where(*within).returning(*(recent.c[name] for name in _COLUMNS))
    ).mappings()
    ordered = sorted(rows, key=lambda row: (row["node_id"], row["first"]))
    alike: dict[Any, list[Any]] = collections.defaultdict(list)
    for row in ordered:
        alike[row["node_id"], row["slots"], tuple(row[name] is None for name in METRICS)].append(row)
    return [_strung(group) for group in alike.values()]


def _taken_strung(connection: Connection, begin: int, end: int, some: Sequence[int]) -> _Rows:
    from psycopg.rows import dict_row

    driver = cast("psycopg.Connection", connection.connection.driver_connection)
    # In the binary form bytes come as they are, not as hexadecimal digits.
    with driver.cursor(binary=True, row_factory=dict_row) as cursor:
        # What is strung together must not go to disk on its way.
        cursor.execute("SET LOCAL work_mem = '64MB'")
        return cursor.execute(_TAKE, {"nodes": list(some), "begin": begin, "end": end}).fetchall()


def _strung(rows: _Rows) -> dict[str, Any]:
    first = rows[0]
    joined = {
        name: None if first[name] is None else b"".join(row[name] for row in rows)
        for name in ("times", "durations", *METRICS)
    }
    return {"node_id": first["node_id"], "slots": first["slots"], "rows": len(rows)} | joined


def _take() -> bytes:
    """All aggregates see the rows of a group in the same order, which need not be that of time."""
    # Which metrics are missing; mostly none is, and to ask that alone is quicker.
    listed = ", ".join(f'"{name}"' for name in METRICS)
    bits = " | ".join(f'CASE WHEN "{name}" IS NULL THEN {1 << n}::bigint ELSE 0 END' for n, name in enumerate(METRICS))
    missing = f"CASE WHEN num_nulls({listed}) = 0 THEN 0 ELSE {bits} END"
    strung = ", ".join(f'string_agg("{name}", \'\'::bytea) AS "{name}"' for name in ("times", "durations", *METRICS))
    names = ", ".join(f'"{name}"' for name in _COLUMNS)
    return (
        f"WITH gone AS (DELETE FROM recent WHERE node_id = ANY(%(nodes)s) "
        f"AND first > %(begin)s AND first <= %(end)s RETURNING {names}) "
        f"SELECT node_id, slots, count(*) AS rows, {strung} FROM gone GROUP BY node_id, slots, {missing}"
    ).encode()


_TAKE = _take()
