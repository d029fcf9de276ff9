"""A node's samples and rollup points over a time, read from the coarsest tier that answers as well as the samples."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from gpufleet_agent.catalogue import BY_NAME, Reason
from numpy.typing import NDArray
from sqlalchemy import Column, Connection, select

from gpufleet_server.store import blocks
from gpufleet_server.store.blocks import Block
from gpufleet_server.store.tiers import DAILY, DAY, HOUR, HOURLY, SEALED, Tier, begin_of, due, recent

_Hours = set[int]
_KEYS = ("slots", "times", "durations")


def samples(connection: Connection, node_id: int, names: Sequence[str], start: int, end: int) -> Block:
    """Every sample of a node's GPUs that ended in (start, end], with these metrics."""
    new = _recent(connection, node_id, names, start, end)
    return _joined(
        [blocks.cut(one, start, end) for one in (*_rows(connection, SEALED, node_id, names, start, end), *new)]
    )


def points(connection: Connection, node_id: int, names: Sequence[str], start: int, end: int, step: int) -> Block:
    """What to roll up into steps of `step` µs: samples, or hourly or daily points where a step is made of whole ones.

    Of hours that are not rolled up yet, or cut by the range, it has the samples; where those are gone, coarser points.
    """
    reader = _Reader(connection, node_id, names, start, end)
    preferred = [tier for tier in (DAILY, HOURLY) if tier.step is not None and step % tier.step == 0]
    for tier in preferred:
        reader.take(tier, whole=True)
    reader.take_samples()
    for tier in (HOURLY, DAILY):
        if tier not in preferred and not reader.complete:
            reader.take(tier, whole=False)
    return _joined(reader.found)


class _Reader:
    """Collects blocks of a range, each hour from the first tier that is asked for it and has it."""

    def __init__(self, connection: Connection, node_id: int, names: Sequence[str], start: int, end: int) -> None:
        self._connection, self._node_id, self._names, self._start, self._end = connection, node_id, names, start, end
        self.found: list[Block] = []
        self._covered: _Hours = set()
        self._new = _recent(connection, node_id, names, start, end)
        self._sealed = set(connection.execute(_within(SEALED, node_id, start, end, "span")).scalars())
        # Late samples of hours that were rolled up already: until they are rolled up again the points lack them.
        self._stale = {hour for block in self._new for hour in _begins(block.times, HOUR)} & self._sealed

    @property
    def complete(self) -> bool:
        """Whether every hour of the range was found."""
        return len(self._covered) >= -(-self._end // HOUR) - self._start // HOUR

    def take(self, tier: Tier, *, whole: bool) -> None:
        """Points of a tier for hours not found yet; `whole`: only those that are right and wholly in the range."""
        step = tier.step or HOUR
        stale = self._stale | (self._due() if tier is DAILY and whole else set())
        for row in _rows(self._connection, tier, self._node_id, self._names, self._start, self._end):
            block = blocks.cut(row, self._start, self._end)
            hours = [set(range(begin, begin + step, HOUR)) for begin in (block.times - step).tolist()]
            good = [not own & self._covered for own in hours]
            if whole:
                good = [g and not own & stale and min(own) >= self._start for g, own in zip(good, hours, strict=True)]
            self._keep(block, good)
            self._covered |= {hour for own, kept in zip(hours, good, strict=True) if kept for hour in own}

    def take_samples(self) -> None:
        """Samples of the hours not found yet."""
        old = _of_spans(self._connection, self._node_id, self._names, sorted(self._sealed - self._covered))
        taken: _Hours = set()
        for block in (blocks.cut(block, self._start, self._end) for block in (*old, *self._new)):
            begins = _begins(block.times, HOUR)
            self._keep(block, [begin not in self._covered for begin in begins])
            taken.update(begins)
        self._covered |= taken

    def _keep(self, block: Block, good: Sequence[bool]) -> None:
        if any(good):
            self.found.append(block if all(good) else _only(block, np.array(good)))

    def _due(self) -> _Hours:
        query = select(due.c.at).where(due.c.kind == "day", due.c.node_id == self._node_id)
        return {hour for day in self._connection.execute(query).scalars() for hour in range(day, day + DAY, HOUR)}


def _rows(
    connection: Connection, tier: Tier, node_id: int, names: Sequence[str], start: int, end: int
) -> Iterable[Block]:
    query = _within(tier, node_id, start, end, "points", *_KEYS, *names).order_by(tier.table.c.span)
    return [blocks.from_planes(row._asdict(), tier, names) for row in connection.execute(query)]


def _of_spans(connection: Connection, node_id: int, names: Sequence[str], spans: Sequence[int]) -> list[Block]:
    table = SEALED.table
    columns = [table.c[name] for name in ("points", *_KEYS, *names)]
    query = select(*columns).where(table.c.node_id == node_id, table.c.span.in_(spans)).order_by(table.c.span)
    return [blocks.from_planes(row._asdict(), SEALED, names) for row in connection.execute(query)] if spans else []


def _within(tier: Tier, node_id: int, start: int, end: int, *names: str) -> Any:
    """A select of rows that may hold points which end in (start, end]."""
    table = tier.table
    columns: list[Column[Any]] = [table.c[name] for name in names]
    first = begin_of(start + 1, tier.span)
    return select(*columns).where(table.c.node_id == node_id, table.c.span >= first, table.c.span < end)


def _recent(connection: Connection, node_id: int, names: Sequence[str], start: int, end: int) -> list[Block]:
    """A block for each set of slots: rows of reports are joined before they are decoded, for there may be hundreds."""
    columns = [recent.c[name] for name in (*_KEYS, *names)]
    query = select(*columns).where(recent.c.node_id == node_id, recent.c.last > start, recent.c.first <= end)
    groups: dict[bytes, list[dict[str, Any]]] = {}
    for row in connection.execute(query):
        groups.setdefault(row.slots, []).append(row._asdict())
    return [_together(slots, rows, names) for slots, rows in groups.items()]


def _together(slots: bytes, rows: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Block:
    whole: dict[str, Any] = {"slots": slots}
    whole |= {name: b"".join(row[name] for row in rows) for name in ("times", "durations")}
    cells = [len(row["times"]) // 8 * (len(slots) // 2) for row in rows]
    for name in names:
        there = any(row[name] is not None for row in rows)
        whole[name] = b"".join(_packed(row, name, n) for row, n in zip(rows, cells, strict=True)) if there else None
    block = blocks.from_recent(whole, names)
    # In the order of time; of two at one time the first that came.
    return _only(block, np.unique(block.times, return_index=True)[1])


def _packed(row: Mapping[str, Any], name: str, cells: int) -> bytes:
    metric = BY_NAME[name]
    held: bytes | None = row[name]
    return (
        metric.absent(Reason.NOT_OBSERVED).to_bytes(metric.width, "little", signed=True) * cells
        if held is None
        else held
    )


def _only(block: Block, which: NDArray[Any]) -> Block:
    columns = {name: values[which] for name, values in block.columns.items()}
    return Block(block.slots, block.times[which], block.durations[which], columns)


def _begins(times: NDArray[np.int64], length: int) -> list[int]:
    begins: list[int] = ((times - 1) // length * length).tolist()
    return begins


def _joined(found: Sequence[Block]) -> Block:
    if not found:
        return Block(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, 0), np.int64), {})
    ordered = sorted((block for block in found if len(block.times)), key=lambda block: int(block.times[0]))
    if not ordered:
        return found[0]
    if len(ordered) == 1:
        return ordered[0]
    return _concatenated(ordered) if _one_after_another(ordered) else blocks.merge(ordered)


def _one_after_another(ordered: Sequence[Block]) -> bool:
    same = all(np.array_equal(block.slots, ordered[0].slots) for block in ordered)
    return same and all(before.times[-1] < after.times[0] for before, after in itertools.pairwise(ordered))


def _concatenated(ordered: Sequence[Block]) -> Block:
    """What `merge` gives, quicker: most of the time a node's GPUs stay the same."""
    columns = {}
    for name in dict.fromkeys(name for block in ordered for name in block.columns):
        missing = BY_NAME[name].absent(Reason.NOT_OBSERVED)
        parts = [block.columns.get(name, np.full(block.durations.shape, missing)) for block in ordered]
        columns[name] = np.concatenate(parts)
    times, durations = (np.concatenate([getattr(block, name) for block in ordered]) for name in ("times", "durations"))
    return Block(ordered[0].slots, times, durations, columns)
