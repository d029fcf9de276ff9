"""What hardly changes of a fleet, as arrays: kept between questions while its nodes say that it is as it was."""

import dataclasses
import threading
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Connection, Engine, func, null, select

from gpufleet_server.queries import paging, roster
from gpufleet_server.queries.paging import Key
from gpufleet_server.queries.roster import Ints, Roster
from gpufleet_server.store.schema import nodes

Mask = NDArray[np.bool_]
# Smaller fleets are read anew each time.
_SMALL = 5000
_COLUMNS = (nodes.c.node_id, nodes.c.site, nodes.c.hostname, nodes.c.simulated, nodes.c.roster_digest)
# How nodes are listed: by site, those without one last, then by hostname.
BY_NODE = (*paging.nulls_last(nodes.c.site, str), Key(nodes.c.hostname, str))
# On PostgreSQL. Of no order: each node is in it once, and no two are equal.
FINGERPRINT: ColumnElement[int] = func.bit_xor(func.hash_record_extended(func.row(*_COLUMNS), 0))


@dataclasses.dataclass(frozen=True, slots=True)
class Frame:
    """Nodes by their ids, and the GPUs that they hold.

    `site` indexes `sites`; `rank` is where a node stands in the order BY_NODE, equal ones alike; `node` is the place of
    each GPU's node.
    """

    node_id: Ints
    sites: list[str | None]
    site: Ints
    simulated: Mask
    rank: Ints
    gpus: Roster
    node: Ints


_kept: WeakKeyDictionary[Engine, tuple[int, Frame]] = WeakKeyDictionary()
_lock = threading.Lock()


def frame(connection: Connection, wanted: int | None) -> Frame:
    """The frame of this FINGERPRINT, or a newer one; None, where the database tells none: as it is now."""
    with _lock:
        known, kept = _kept.get(connection.engine, (None, None))
    if kept is not None and known == wanted:
        return kept
    # In one statement: what is kept must be what its fingerprint is of.
    of_all = null() if wanted is None else select(FINGERPRINT).select_from(nodes).scalar_subquery()
    rank = func.dense_rank().over(order_by=paging.directions(BY_NODE)).label("rank")
    rows = connection.execute(select(*_COLUMNS, rank, of_all).order_by(nodes.c.node_id)).all()
    made = _frame(connection, rows)
    if wanted is not None and len(made.node) > _SMALL:
        with _lock:
            _kept[connection.engine] = rows[0][-1], made
    return made


def _frame(connection: Connection, rows: Sequence[Any]) -> Frame:
    held = roster.held(connection, {row.node_id: row.roster_digest for row in rows})
    ids = np.array([row.node_id for row in rows], np.int64)
    places = {site: place for place, site in enumerate(dict.fromkeys(row.site for row in rows))}
    return Frame(
        node_id=ids,
        sites=list(places),
        site=np.array([places[row.site] for row in rows], np.int64),
        simulated=np.array([row.simulated for row in rows], bool),
        rank=np.array([row.rank for row in rows], np.int64),
        gpus=held,
        node=np.searchsorted(ids, held.node_id),
    )
