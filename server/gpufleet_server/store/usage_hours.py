"""How much each owner had of the fleet in each hour: added up from pieces, in the transaction that folds them.

Each piece is cut at the hour, and is there once. So hours are exact where an interval changed from active to held, and
neither the order in which reports come nor how late they are makes a difference.
"""

from collections.abc import Mapping

import numpy as np
from sqlalchemy import Connection, select

from gpufleet_server.domain.usage import Ints, Pieces, cut
from gpufleet_server.store.schema import gpus, nodes
from gpufleet_server.store.tiers import HOUR
from gpufleet_server.store.upsert import Change, Upsert, add, greatest
from gpufleet_server.store.usage import SLOTS, SUMMED, usage_fleet_hours
from gpufleet_server.store.usage_places import Place, place_ids

_CHANGES: dict[str, Change] = {**dict.fromkeys(SUMMED, add), "memory_most": greatest}
_UPSERT = Upsert(usage_fleet_hours, _CHANGES)
# KiB × ms in a MiB × s, which is what hours count memory in: a day of a fleet fits into 64 bits.
MEMORY_STEP = 1_024_000
_NOWHERE: Place = ("", "", False)


def add_hours(connection: Connection, pieces: Pieces, owners: Mapping[int, int]) -> int:
    """Add pieces of some nodes, with the owners of their holders; how many rows changed. Others must not be at it."""
    pieces = cut(pieces, HOUR)
    if not len(pieces):
        return 0
    of_piece = _places(connection, pieces)
    holders, holder = np.unique(pieces.holder, return_inverse=True)
    owner = np.array([owners.get(each, 0) for each in holders.tolist()], np.int64)[holder]
    order = np.lexsort((of_piece, owner, pieces.begin // HOUR))
    keys = np.stack((pieces.begin // HOUR * HOUR, owner, of_piece))[:, order]
    begins = np.flatnonzero(np.concatenate(([True], (keys[:, 1:] != keys[:, :-1]).any(axis=0))))
    sums = [np.add.reduceat(_summed(pieces, name)[order], begins).tolist() for name in SUMMED]
    most = np.maximum.reduceat(pieces.memory_most[order], begins).tolist()
    rows = list(zip(*keys[:, begins].tolist(), *sums, most, strict=True))
    _UPSERT.execute(connection, rows)
    return len(rows)


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
