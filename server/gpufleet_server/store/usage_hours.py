"""How much each owner had of the fleet in each hour: added up from pieces, in the transaction that folds them.

Each piece is cut at the hour, and is there once. So hours are exact where an interval changed from active to held, and
neither the order in which reports come nor how late they are makes a difference.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, select

from gpufleet_server.domain.usage import Ints, Pieces, cut
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import HOUR
from gpufleet_server.store.upsert import Change, Upsert, add, greatest
from gpufleet_server.store.usage import SLOTS, SUMMED, TIMES, usage_fleet_hours, usage_kind_hours
from gpufleet_server.store.usage_kinds import NO_KIND
from gpufleet_server.store.usage_long import SIX_HOURS, forget
from gpufleet_server.store.usage_places import Place, place_ids

_CHANGES: dict[str, Change] = {**dict.fromkeys(SUMMED, add), "memory_most": greatest}
_UPSERT = Upsert(usage_fleet_hours, _CHANGES)
_KINDS = Upsert(usage_kind_hours, dict.fromkeys(TIMES, add))
# KiB × ms in a MiB × s, which is what hours count memory in: a day of a fleet fits into 64 bits.
MEMORY_STEP = 1_024_000
_NOWHERE: Place = ("", "", False)


@dataclasses.dataclass(frozen=True, slots=True)
class Owner:
    """Whose a holder is: a row of `owners`, and its kind."""

    owner_id: int = 0
    kind: str = NO_KIND


NOBODY_KNOWN = Owner()


def add_hours(connection: Connection, pieces: Pieces, owners: Mapping[int, Owner]) -> int:
    """Add pieces of some nodes, with the owners of their holders; how many rows changed. Others must not be at it."""
    pieces = cut(pieces, HOUR)
    if not len(pieces):
        return 0
    of_piece = _places(connection, pieces)
    holders, holder = np.unique(pieces.holder, return_inverse=True)
    whose = [owners.get(each, NOBODY_KNOWN) for each in holders.tolist()]
    hours = pieces.begin // HOUR * HOUR
    groups = _Groups(hours, np.array([each.owner_id for each in whose], np.int64)[holder], of_piece)
    rows = groups.rows([_summed(pieces, name) for name in SUMMED], pieces.memory_most)
    _UPSERT.execute(connection, rows)
    _add_kinds(connection, pieces, _Groups(hours, np.array([each.kind for each in whose])[holder], of_piece))
    forget(connection, SIX_HOURS, np.unique(hours).tolist())
    return len(rows)


def _add_kinds(connection: Connection, pieces: Pieces, groups: "_Groups") -> None:
    _KINDS.execute(connection, groups.rows([getattr(pieces, name) for name in TIMES]))


class _Groups:
    """Pieces that are alike in these arrays, all of them of one value a piece."""

    def __init__(self, *keys: np.ndarray[Any, Any]) -> None:
        self._order = np.lexsort(keys[::-1])
        ordered = [key[self._order] for key in keys]
        differs = np.logical_or.reduce([key[1:] != key[:-1] for key in ordered])
        self._begins = np.flatnonzero(np.concatenate(([True], differs)))
        self._keys = [key[self._begins].tolist() for key in ordered]

    def rows(self, summed: Sequence[Ints], *most: Ints) -> list[tuple[Any, ...]]:
        """A row a group: its keys, the sums of some arrays, the most of others."""
        sums = [np.add.reduceat(values[self._order], self._begins).tolist() for values in summed]
        greatest_ = [np.maximum.reduceat(values[self._order], self._begins).tolist() for values in most]
        return list(zip(*self._keys, *sums, *greatest_, strict=True))


def _summed(pieces: Pieces, name: str) -> Ints:
    column: Ints = getattr(pieces, name)
    # Rounded piece by piece: so it makes no difference which of them come together.
    return (column + MEMORY_STEP // 2) // MEMORY_STEP if name == "memory_sum" else column


def _places(connection: Connection, pieces: Pieces) -> Ints:
    """The place of each piece."""
    some = np.unique(pieces.node).tolist()
    query = select(nodes.c.node_id, gpus.c.slot, nodes.c.site, gpus.c.model, nodes.c.simulated)
    query = query.join_from(gpus, nodes, nodes.c.node_id == gpus.c.node_id).where(gpus.c.node_id.in_(some))
    places = {
        node_id * SLOTS + slot: (site or "", model or "", simulated)
        for node_id, slot, site, model, simulated in connection.execute(query)
    }
    found, which = np.unique(pieces.node * SLOTS + pieces.slot, return_inverse=True)
    # One piece of a GPU that is not known must not keep all others from being folded.
    there = [places.get(gpu, _NOWHERE) for gpu in found.tolist()]
    ids = place_ids(connection, there)
    return np.array([ids[place] for place in there], np.int64)[which]
