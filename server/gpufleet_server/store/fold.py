"""Folds what reports brought of usage into intervals: some nodes in a transaction, each piece once."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, bindparam, delete, func, select, update

from gpufleet_server.domain.usage import DAY, FIELDS, NONE, Pieces, cut, gap, merge, of_rows, together
from gpufleet_server.store import partitions
from gpufleet_server.store.bulk import insert_new
from gpufleet_server.store.engine import Store
from gpufleet_server.store.leases import USAGE, alone
from gpufleet_server.store.schema import nodes
from gpufleet_server.store.tiers import HOUR, due
from gpufleet_server.store.upsert import Upsert, replace
from gpufleet_server.store.usage import RECORDS, USAGE_DUE, holders, usage, usage_recent
from gpufleet_server.store.usage_hours import NOBODY_KNOWN, Owner, add_hours

# Nodes in one transaction, and rows of theirs, but for a single node's: bounds its memory, and how long it takes.
_NODES, _ROWS = 400, 20_000
# A fleet of more nodes than this is folded in larger portions, of what is this old (µs): a row is then touched less.
_MANY, _PATIENCE = 500, 60_000_000
_COLUMNS = {name: {"node": "node_id", "holder": "holder_id"}.get(name, name) for name in FIELDS}
_KEY = ("node_id", "begin", "slot", "holder_id", "partition")
_REST = tuple(column for column in _COLUMNS.values() if column not in _KEY)
_UPSERT = Upsert(usage, dict.fromkeys((*_REST, "owner_id"), replace))
_PARTITION = list(_COLUMNS).index("partition")
_DELETE = delete(usage).where(*(usage.c[name] == bindparam(f"key_{name}") for name in _KEY))
_SEEN = (
    update(holders)
    .where(holders.c.holder_id == bindparam("this"), holders.c.last_seen < bindparam("at"))
    .values(last_seen=bindparam("at"))
)
# Bytes that are believed, so that what is summed up of them stays within 64 bits.
_MOST_MEMORY = 1 << 41


@dataclasses.dataclass(slots=True)
class Folded:
    """What a pass has done: rows of `usage_recent`, pieces in them, and intervals that were made or went on."""

    rows: int = 0
    pieces: int = 0
    intervals: int = 0

    def __iadd__(self, other: "Folded") -> "Folded":
        for field in dataclasses.fields(self):
            setattr(self, field.name, getattr(self, field.name) + getattr(other, field.name))
        return self


def fold(store: Store, now: int, go_on: Callable[[], bool] = lambda: True, *, all_: bool = False) -> Folded:
    """Fold what came, some nodes in a transaction, for as long as `go_on` says so.

    Of a large fleet only nodes of which something waits for a minute, unless `all_`.
    """
    done = Folded()
    for some in _portions(_waiting(store, now, all_=all_)):
        if not go_on():
            break
        done += _fold_some(store, some, now)
    return done


def folded_until(connection: Connection, now: int) -> int:
    """The time (µs) up to which all that was received is in `usage`."""
    oldest = connection.execute(select(func.min(usage_recent.c.received_at))).scalar()
    return now if oldest is None else min(now, oldest)


def _waiting(store: Store, now: int, *, all_: bool) -> list[tuple[int, int]]:
    """Nodes, and how many rows of each wait."""
    oldest, count = func.min(usage_recent.c.received_at).label("oldest"), func.count().label("rows")
    query = select(usage_recent.c.node_id, oldest, count).group_by(usage_recent.c.node_id)
    with store.reading() as connection:
        rows = connection.execute(query.order_by(usage_recent.c.node_id)).all()
    patience = _PATIENCE if len(rows) > _MANY and not all_ else 0
    return [(row.node_id, row.rows) for row in rows if row.oldest <= now - patience]


def _portions(waiting: Iterable[tuple[int, int]]) -> Iterator[list[int]]:
    some, held = list[int](), 0
    for node_id, rows in waiting:
        if some and (len(some) == _NODES or held + rows > _ROWS):
            yield some
            some, held = [], 0
        some.append(node_id)
        held += rows
    if some:
        yield some


def _fold_some(store: Store, some: Sequence[int], now: int) -> Folded:
    taking = delete(usage_recent).where(usage_recent.c.node_id.in_(some))
    with store.writing() as connection:
        alone(connection, USAGE)
        taken = connection.execute(taking.returning(usage_recent)).all()
        if not taken:  # Another server was faster.
            return Folded()
        partitions_ = _Partitions()
        pieces = cut(_pieces(taken, partitions_))
        for day in _days(pieces):
            partitions.make_for(connection, usage, day)
        owned = _owners(connection, pieces)
        add_hours(connection, pieces, owned)
        return Folded(len(taken), len(pieces), _merge(connection, pieces, partitions_, owned, now))


def _owners(connection: Connection, pieces: Pieces) -> dict[int, Owner]:
    """The owner of each holder of these pieces."""
    query = select(holders.c.holder_id, holders.c.owner_id, holders.c.kind)
    ids = np.unique(pieces.holder).tolist()
    rows = connection.execute(query.where(holders.c.holder_id.in_(ids)))
    return {row.holder_id: Owner(row.owner_id, row.kind) for row in rows}


class _Partitions:
    """Numbers for the UUIDs of partitions, 0 for a whole GPU."""

    def __init__(self) -> None:
        self.names = [""]
        self._numbers = {"": 0}

    def number(self, name: str) -> int:
        """The number of a UUID."""
        if name not in self._numbers:
            self._numbers[name] = len(self.names)
            self.names.append(name)
        return self._numbers[name]


def _pieces(rows: Sequence[Any], partitions_: _Partitions) -> Pieces:
    """The pieces in rows of `usage_recent`."""
    records = np.frombuffer(b"".join(row.pieces for row in rows), RECORDS)
    counts = [len(row.pieces) // RECORDS.itemsize for row in rows]
    names: list[str] = []
    begins = []
    for row in rows:
        begins.append(len(names))
        names += row.partitions.split("\n") if row.partitions else ()
    # Behind the last one stands what a piece without partition refers to.
    known = np.array([*map(partitions_.number, names), 0], np.int64)
    at = np.where(records["partition"] < 0, len(names), records["partition"] + np.repeat(begins, counts))
    given = {name: records[name].astype(np.int64) for name in RECORDS.names or ()}
    observed, memory, activity = given["observed"], given["memory"], given["activity"]
    memory_ms, activity_ms = np.where(memory < 0, 0, observed), np.where(activity < 0, 0, observed)
    same = ("holder", "slot", "begin", "end", "observed", "active", "held", "memory_most", "processes")
    return Pieces(
        node=np.repeat(np.array([row.node_id for row in rows], np.int64), counts),
        partition=known[at],
        memory_sum=(np.clip(memory, 0, _MOST_MEMORY) + 512) // 1024 * memory_ms,
        memory_ms=memory_ms,
        activity_sum=activity * activity_ms,
        activity_ms=activity_ms,
        **{name: given[name] for name in same},
    )


def _days(pieces: Pieces) -> list[int]:
    days: list[int] = np.unique(pieces.begin // DAY * DAY).tolist()
    return days


def _merge(
    connection: Connection, pieces: Pieces, partitions_: _Partitions, owned: Mapping[int, Owner], now: int
) -> int:
    """Put the pieces of some nodes together with the intervals that are there; how many those come to."""
    nodes_ = np.unique(pieces.node)
    query = select(nodes.c.node_id, nodes.c.interval_ms).where(nodes.c.node_id.in_(nodes_.tolist()))
    intervals = dict(connection.execute(query).all())
    gaps = np.array([gap(intervals.get(node_id, 0)) for node_id in nodes_.tolist()], np.int64)
    old = together([pieces.take(slice(0, 0)), *_there(connection, pieces, int(gaps.max(initial=0)), partitions_)])
    both = together([old, pieces])
    merged, into = merge(both, gaps[np.searchsorted(nodes_, both.node)])
    touched = np.zeros(len(merged), bool)
    touched[into[len(old) :]] = True
    before = np.full(len(merged), NONE)
    before[into[: len(old)]] = old.end
    # Rows that became part of another one, or begin earlier now, which is in their key.
    into_old = into[: len(old)]
    _delete(connection, old.take(touched[into_old] & (merged.begin[into_old] != old.begin)), partitions_)
    _put(connection, merged.take(touched), partitions_, owned)
    hour = touched & (merged.end // HOUR != before // HOUR)
    _see(connection, merged.take(hour))
    _owe(connection, merged.take(touched & ((before == NONE) | (merged.begin // DAY < now // DAY))))
    return int(touched.sum())


def _there(connection: Connection, pieces: Pieces, margin: int, partitions_: _Partitions) -> Iterable[Pieces]:
    """The intervals of these nodes that may go on with one of the pieces."""
    for day in _days(pieces):
        part = pieces.take(pieces.begin // DAY * DAY == day)
        near = (
            usage.c.node_id.in_(np.unique(part.node).tolist()),
            usage.c.begin >= day,
            usage.c.begin < min(day + DAY, int(part.end.max()) + margin + 1),
            usage.c.end >= int(part.begin.min()) - margin,
        )
        rows = connection.execute(select(*(usage.c[name] for name in _COLUMNS.values())).where(*near))
        numbered = ((*row[:_PARTITION], partitions_.number(row[_PARTITION]), *row[_PARTITION + 1 :]) for row in rows)
        yield of_rows(numbered)


def _rows(pieces: Pieces, columns: Sequence[str], partitions_: _Partitions) -> list[tuple[Any, ...]]:
    """A tuple of these columns of `usage` a piece."""
    fields = {column: field for field, column in _COLUMNS.items()}
    values = {column: getattr(pieces, fields[column]).tolist() for column in columns}
    values["partition"] = [partitions_.names[number] for number in values["partition"]]
    return list(zip(*values.values(), strict=True))


def _put(connection: Connection, pieces: Pieces, partitions_: _Partitions, owned: Mapping[int, Owner]) -> None:
    rows = _rows(pieces, (*_KEY, *_REST), partitions_)
    whose = (owned.get(holder, NOBODY_KNOWN).owner_id for holder in pieces.holder.tolist())
    _UPSERT.execute(connection, [(*row, owner) for row, owner in zip(rows, whose, strict=True)])


def _delete(connection: Connection, pieces: Pieces, partitions_: _Partitions) -> None:
    rows = _rows(pieces, _KEY, partitions_)
    if rows:
        given = [dict(zip((f"key_{name}" for name in _KEY), row, strict=True)) for row in rows]
        connection.execute(_DELETE, given)


def _see(connection: Connection, pieces: Pieces) -> None:
    """Have holders say that they were seen, for which once an hour is enough."""
    last: dict[int, int] = {}
    for holder, end in zip(pieces.holder.tolist(), pieces.end.tolist(), strict=True):
        last[holder] = max(end, last.get(holder, 0))
    if last:
        # In the order in which reports that name them take them: two that wait for each other would wait for ever.
        mine = select(holders.c.holder_id).where(holders.c.holder_id.in_(sorted(last))).order_by(holders.c.digest)
        connection.execute(mine.with_for_update())
        connection.execute(_SEEN, [{"this": holder, "at": last[holder]} for holder in sorted(last)])


def _owe(connection: Connection, pieces: Pieces) -> None:
    """Have the days of these nodes added up once they are over."""
    pairs = np.unique(np.stack((pieces.node, pieces.begin // DAY * DAY), axis=1), axis=0).tolist()
    insert_new(connection, due, [{"kind": USAGE_DUE, "node_id": node_id, "at": day} for node_id, day in pairs])
