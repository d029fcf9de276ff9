"""Usage intervals: pieces of one holder on one GPU that follow upon each other become one. Pure, without loops."""

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]

DAY = 86_400_000_000
# A gap up to this long, µs, is none: an agent's sample may be late by as much.
LEAST_GAP = 2_000_000
# What stands for a value that is not known.
NONE = -1

KEY = ("node", "slot", "partition", "holder")
SUMS = ("observed", "active", "held", "memory_sum", "memory_ms", "activity_sum", "activity_ms")
MOST = ("memory_most", "processes")


@dataclasses.dataclass(frozen=True, slots=True)
class Pieces:
    """N intervals or pieces of them, an array of N a field.

    `node`, `slot`, `partition` and `holder` name what is one interval's: any integers. `begin` and `end` in µs;
    `observed`, `active` and `held` in ms. Means are kept as sums, which add up exactly: `memory_sum` in KiB × ms over
    `memory_ms`, `activity_sum` in basis points × ms over `activity_ms`. `memory_most` in bytes, or NONE.
    """

    node: Ints
    slot: Ints
    partition: Ints
    holder: Ints
    begin: Ints
    end: Ints
    observed: Ints
    active: Ints
    held: Ints
    memory_sum: Ints
    memory_ms: Ints
    memory_most: Ints
    activity_sum: Ints
    activity_ms: Ints
    processes: Ints

    def __len__(self) -> int:
        return len(self.begin)

    def take(self, which: NDArray[np.bool_] | Ints | slice) -> "Pieces":
        """Some of them."""
        return Pieces(*(getattr(self, name)[which] for name in FIELDS))


FIELDS = tuple(field.name for field in dataclasses.fields(Pieces))


def of_rows(rows: Iterable[Sequence[int]]) -> Pieces:
    """Rows with a value a field."""
    table = np.array(list(rows), np.int64).reshape(-1, len(FIELDS))
    return Pieces(*table.T)


def together(parts: Sequence[Pieces]) -> Pieces:
    """All pieces of some parts."""
    return Pieces(*(np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS))


def gap(interval_ms: int) -> int:
    """The longest gap, µs, that an interval goes on over where samples are taken every so many ms."""
    return max(LEAST_GAP, interval_ms * 1000)


def cut(pieces: Pieces, length: int = DAY) -> Pieces:
    """The same, cut at each multiple of `length` µs: at midnight UTC, or at each hour.

    What a piece sums up is divided by time; nothing is lost or added.
    """
    crossing = (pieces.end - 1) // length > pieces.begin // length
    if not crossing.any():
        return pieces
    rows = [[int(getattr(pieces, name)[place]) for name in FIELDS] for place in np.flatnonzero(crossing).tolist()]
    return together([pieces.take(~crossing), of_rows(part for row in rows for part in _parts(row, length))])


def _parts(row: list[int], length: int) -> Iterable[list[int]]:
    """A row, cut. Python's integers, for these products outgrow 64 bits."""
    piece = dict(zip(FIELDS, row, strict=True))
    begin, end = piece["begin"], piece["end"]
    at = begin
    while at < end:
        until = min(end, (at // length + 1) * length)
        part = piece | {"begin": at, "end": until}
        for name in SUMS:
            whole = piece[name]
            part[name] = whole * (until - begin) // (end - begin) - whole * (at - begin) // (end - begin)
        yield list(part.values())
        at = until


def merge(pieces: Pieces, gaps: Ints) -> tuple[Pieces, Ints]:
    """The intervals that pieces which no midnight cuts make up, and for each piece the number of the one it is in.

    Pieces of one key and day go together where the next begins no more than `gaps` (µs, one a piece, the same for all
    of a node) after the end of those before it. The order of pieces makes no difference, nor whether some were merged
    already. Sums add up; of the rest the largest counts.
    """
    if not len(pieces):
        return pieces, np.zeros(0, np.int64)
    order = np.lexsort((pieces.end, pieces.begin, *(getattr(pieces, name) for name in reversed(KEY))))
    sorted_ = pieces.take(order)
    other = np.zeros(len(order), bool)
    for column in (*(getattr(sorted_, name) for name in KEY), sorted_.begin // DAY):
        other[1:] |= column[1:] != column[:-1]
    before = _latest_end(sorted_.end, np.cumsum(other))
    first = other.copy()
    first[0] = True
    first[1:] |= sorted_.begin[1:] - before[:-1] > gaps[order][1:]
    begins = np.flatnonzero(first)
    into = np.empty(len(order), np.int64)
    into[order] = np.cumsum(first) - 1
    columns = {name: getattr(sorted_, name)[begins] for name in (*KEY, "begin")}
    columns |= {name: np.add.reduceat(getattr(sorted_, name), begins) for name in SUMS}
    columns |= {name: np.maximum.reduceat(getattr(sorted_, name), begins) for name in ("end", *MOST)}
    return Pieces(**columns), into


def _latest_end(ends: Ints, group: Ints) -> Ints:
    """The latest end so far within each of the rising groups."""
    known, rank = np.unique(ends, return_inverse=True)
    # Ranks, so that a group and an end fit into one integer.
    latest = np.maximum.accumulate(group * len(known) + rank)
    found: Ints = known[latest % len(known)]
    return found
